"""The smallest rectangles around components: convex hulls, then a rectangle along each side."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from backends.contract import Array
from deploy.tasks.text.components import Runs


class Rectangles(NamedTuple):
    """Rotated rectangles, around the centres of pixels.

    Attributes:
        centres: (n, 2) x and y.
        axes: (n, 2) unit vectors along the first side, which points to the right within 45 degrees.
        halves: (n, 2) half the length of the first side, and of the other one.
    """

    centres: Array
    axes: Array
    halves: Array

    def take(self, selection: Array) -> Rectangles:
        """The rectangles at these indices, or where this boolean array is true."""
        return Rectangles(self.centres[selection], self.axes[selection], self.halves[selection])

    def shorter_sides(self) -> Array:
        """The length (n,) of the shorter side."""
        shorter: Array = 2 * self.halves.min(axis=1)
        return shorter

    def grown(self, ratio: float) -> Rectangles:
        """Each side moved outwards by ``area * ratio / perimeter``, as DBNet unclips its boxes."""
        sides = 2 * self.halves
        perimeter = 2 * sides.sum(axis=1)
        area = sides.prod(axis=1) * ratio
        distance = np.divide(area, perimeter, out=np.zeros_like(area), where=perimeter > 0)
        return self._replace(halves=self.halves + distance[:, None])

    def corners(self) -> Array:
        """(n, 4, 2), clockwise from the top left."""
        along = self.axes * self.halves[:, :1]
        down = _turned(self.axes) * self.halves[:, 1:]
        offsets = np.stack((-along - down, along - down, along + down, down - along), axis=1)
        corners: Array = self.centres[:, None] + offsets
        return corners


def _turned(vectors: Array) -> Array:
    """Vectors (..., 2) by 90 degrees, clockwise on a screen."""
    return np.stack((-vectors[..., 1], vectors[..., 0]), axis=-1)


def rectangles_around(runs: Runs, components: Array, count: int) -> Rectangles:
    """The rectangle of the smallest area around each component.

    Args:
        runs: of all components.
        components: (n,) the component of each run.
        count: how many components there are; each has a run.

    Examples:
        >>> bar = Runs(np.array([2, 3]), np.array([1, 1]), np.array([5, 5]))
        >>> rectangles_around(bar, np.array([0, 0]), 1).corners().tolist()
        [[[1.0, 2.0], [5.0, 2.0], [5.0, 3.0], [1.0, 3.0]]]
    """
    hulls = _hulls(runs, components, count) if count else []
    found = np.array([_smallest(hull) for hull in hulls]).reshape(-1, 6)
    return Rectangles(found[:, :2], *_to_the_right(found[:, 2:4], found[:, 4:]))


def _hulls(runs: Runs, components: Array, count: int) -> list[Array]:
    """The corners (k, 2) of each component's convex hull, in their order around it."""
    order = np.lexsort((runs.row, components))
    component, row = components[order], runs.row[order]
    starts = np.flatnonzero(np.diff(component, prepend=-1) | np.diff(row, prepend=-1))
    component, row = component[starts], row[starts]
    left = _chain(component, row, -np.minimum.reduceat(runs.first[order], starts))
    right = _chain(component, row, np.maximum.reduceat(runs.last[order], starts))
    left[1][:, 0] *= -1
    chains = [
        np.split(points, np.searchsorted(groups, np.arange(1, count))) for groups, points in
        (left, right)
    ]  # fmt: skip
    return [np.concatenate((up[::-1], down)) for up, down in zip(*chains, strict=True)]


def _chain(group: Array, y: Array, x: Array) -> tuple[Array, Array]:
    """The part of convex hulls that is seen from the right.

    A corner of a hull lies outside of the line between any two points of the chain around it. So
    all points that do not can go at once, and again, until none does.

    Args:
        group: (n,) ascending, the number of the hull.
        y: (n,) ascending within a group.
        x: (n,) the largest x at this y.

    Returns:
        The group (k,) and the point (k, 2) of each corner.
    """
    points = np.stack((x, y), axis=1).astype(np.float64)
    while len(points) > 2:
        before, behind = points[1:-1] - points[:-2], points[2:] - points[1:-1]
        outside = before[:, 0] * behind[:, 1] > before[:, 1] * behind[:, 0]
        is_end = group[:-2] != group[2:]
        kept = np.concatenate(([True], outside | is_end, [True]))
        if kept.all():
            break
        group, points = group[kept], points[kept]
    return group, points


def _smallest(hull: Array) -> tuple[float, ...]:
    """Centre, axis and half sides of the smallest rectangle: one side lies along one of the hull's.

    Args:
        hull: (k, 2) corners in their order.
    """
    sides = np.roll(hull, -1, axis=0) - hull
    lengths = np.hypot(sides[:, 0], sides[:, 1])
    if not lengths.any():
        return (*hull[0].tolist(), 1.0, 0.0, 0.0, 0.0)
    x, y = (sides[lengths > 0] / lengths[lengths > 0, None]).T
    first, second = hull[:, :1], hull[:, 1:]
    along, across = first * x + second * y, second * x - first * y  # (corners, axes)
    left, right, top, bottom = along.min(axis=0), along.max(axis=0), across.min(0), across.max(0)
    best = int(((right - left) * (bottom - top)).argmin())
    axis = float(x[best]), float(y[best])
    middle = float(left[best] + right[best]) / 2, float(top[best] + bottom[best]) / 2
    return (
        middle[0] * axis[0] - middle[1] * axis[1],
        middle[0] * axis[1] + middle[1] * axis[0],
        *axis,
        float(right[best] - left[best]) / 2,
        float(bottom[best] - top[best]) / 2,
    )


def _to_the_right(axes: Array, halves: Array) -> tuple[Array, Array]:
    """Axes (n, 2) turned by quarters so that each points to the right, with their halves."""
    directions = np.stack((axes, _turned(axes), -axes, -_turned(axes)), axis=1)
    quarters = directions[..., 0].argmax(axis=1)
    turned: Array = directions[np.arange(len(axes)), quarters]
    return turned, np.where(quarters[:, None] % 2, halves[:, ::-1], halves)
