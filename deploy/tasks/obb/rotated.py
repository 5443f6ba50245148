"""Rotated boxes: corners, their overlap as Gaussians, and suppression by it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from backends.contract import Array

_BLOCK = 128  # boxes that are compared at once
_SMALL = 1e-7  # keeps denominators and logarithms finite, as Ultralytics does


def corners_of(boxes: Array) -> Array:
    """Corners (n, 4, 2) of boxes (n, 5): centre x, centre y, width, height, angle in radians.

    The angle turns the width from the x axis towards the y axis, which is clockwise on a screen.
    Corners are clockwise, the first is at the top left where the angle is 0.

    Examples:
        >>> corners_of(np.array([[10.0, 20.0, 4.0, 2.0, 0.0]]))[0].tolist()
        [[8.0, 19.0], [12.0, 19.0], [12.0, 21.0], [8.0, 21.0]]
    """
    centre = boxes[:, None, :2]
    along, across = (half[:, None] for half in half_sides(boxes))
    points: Array = np.concatenate(
        (
            centre - along - across,
            centre + along - across,
            centre + along + across,
            centre - along + across,
        ),
        axis=1,
    )
    return points


def half_sides(boxes: Array) -> tuple[Array, Array]:
    """Vectors (n, 2) each from the centre to the middle of a side: along width, along height."""
    cosine, sine = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    half_width, half_height = boxes[:, 2, None] / 2, boxes[:, 3, None] / 2
    along = half_width * np.stack((cosine, sine), axis=1)
    across = half_height * np.stack((-sine, cosine), axis=1)
    return along, across


def box_from_sides(centres: Array, along: Array, across: Array) -> Array:
    """The rotated boxes (n, 5) that are nearest to parallelograms.

    A box that is scaled differently in x and y becomes a parallelogram. The sides of the nearest
    box have the smallest sum of squared differences to its sides. A box that stays one is given
    back but for rounding.

    Args:
        centres: (n, 2).
        along: (n, 2) from the centre to the middle of a side, as of ``half_sides``.
        across: likewise, of the next side clockwise.
    """
    (along_x, along_y), (across_x, across_y) = along.T, across.T
    # the largest value of (q . along)**2 + (q turned by 90 degrees . across)**2 over directions q
    mixed = 2 * (along_x * along_y - across_x * across_y)
    apart = along_x**2 + across_y**2 - along_y**2 - across_x**2
    angle = np.arctan2(mixed, apart) / 2
    angle = np.where(along_x * np.cos(angle) + along_y * np.sin(angle) < 0, angle + np.pi, angle)
    cosine, sine = np.cos(angle), np.sin(angle)
    width = 2 * np.abs(along_x * cosine + along_y * sine)
    height = 2 * np.abs(across_y * cosine - across_x * sine)
    boxes: Array = np.column_stack((centres, width, height, angle))
    return boxes


class _Gaussians(NamedTuple):
    """Boxes as normal distributions: means x, y, and covariances [[a, c], [c, b]]; (n,) each."""

    x: Array
    y: Array
    a: Array
    b: Array
    c: Array

    def rows(self) -> _Gaussians:
        """The same as columns of a matrix: (n, 1) each."""
        return _Gaussians(*(values[:, None] for values in self))

    def take(self, chosen: Array) -> _Gaussians:
        """Those at these indices."""
        return _Gaussians(*(values[chosen] for values in self))


def _gaussians(boxes: Array) -> _Gaussians:
    x, y, width, height, angle = boxes.astype(np.float64).T
    along, across = width**2 / 12, height**2 / 12
    cosine, sine = np.cos(angle), np.sin(angle)
    return _Gaussians(
        x,
        y,
        along * cosine**2 + across * sine**2,
        along * sine**2 + across * cosine**2,
        (along - across) * cosine * sine,
    )


def probiou(rows: Array, columns: Array) -> Array:
    """How much boxes (n, 5) and (m, 5) overlap as Gaussians: (n, m) from 0 to 1.

    1 minus the Hellinger distance of both distributions (arXiv 2106.06072), which Ultralytics uses
    in the place of an IoU. It is 1 for equal boxes and small for boxes apart, but no share of area.

    Examples:
        >>> box = np.array([[0.0, 0.0, 10.0, 4.0, 0.0]])
        >>> turned, moved = box + [0, 0, 0, 0, np.pi], box + [5, 0, 0, 0, 0]
        >>> probiou(box, np.vstack((turned, moved))).round(3)
        array([[1.   , 0.441]])
    """
    return _overlaps(_gaussians(rows).rows(), _gaussians(columns))


def _overlaps(first: _Gaussians, second: _Gaussians) -> Array:
    a, b, c = first.a + second.a, first.b + second.b, first.c + second.c
    wide, high = first.x - second.x, first.y - second.y
    determinant = a * b - c**2
    apart = (a * high**2 + b * wide**2 - 2 * c * wide * high) / (determinant + _SMALL) / 4
    own = [np.maximum(item.a * item.b - item.c**2, 0) for item in (first, second)]
    unlike = np.log(determinant / (4 * np.sqrt(own[0] * own[1]) + _SMALL) + _SMALL) / 2
    distance = np.clip(apart + unlike, _SMALL, 100)
    overlap: Array = 1 - np.sqrt(1 - np.exp(-distance) + _SMALL)
    return overlap


def rotated_nms(boxes: Array, scores: Array, labels: Array, iou_thr: float, most: int) -> Array:
    """Suppression as Ultralytics does it of rotated boxes.

    A box is suppressed by any better box of its class that it overlaps, also by one that is
    suppressed itself (Fast NMS, arXiv 1904.02689).

    Args:
        boxes: (n, 5), see ``corners_of``.
        scores: (n,); equal scores keep their order.
        labels: (n,).
        iou_thr: a box is suppressed where its ``probiou`` with a better one is above this.
        most: stop after this many boxes.

    Returns:
        Indices (k,) of the boxes that are kept, best first.
    """
    order = np.argsort(-scores, kind="stable")
    gaussians, labels = _gaussians(boxes[order]), labels[order]
    kept = np.empty(0, np.int64)  # ranks

    def free_of(better: Array, ranks: Array) -> Array:
        """Those of ``ranks`` that overlap none of the better ones, which come before them."""
        if not len(better) or not len(ranks):
            return ranks
        overlaps = _overlaps(gaussians.take(better).rows(), gaussians.take(ranks)) > iou_thr
        overlaps &= (labels[better][:, None] == labels[ranks]) & (better[:, None] < ranks)
        return ranks[~overlaps.any(axis=0)]

    for first in range(0, len(order), _BLOCK):
        block = np.arange(first, min(first + _BLOCK, len(order)))
        free = free_of(kept, block)  # most fall to one of the few that are kept
        free = free_of(block, free)
        for start in range(0, first, _BLOCK):
            free = free_of(np.arange(start, start + _BLOCK), free)
        kept = np.concatenate((kept, free))
        if len(kept) >= most:
            break
    return order[kept[:most]]
