"""Boxes: deltas to boxes, and which of them stay, with MMDetection's semantics (3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from math import log

import numpy as np

from backends.contract import Array
from deploy.runtime.vision.compiling import can_compile
from deploy.runtime.vision.nms import nms

_LARGEST = abs(log(16 / 1000))  # of the logarithm of a side's growth


_CHUNK = 1 << 16  # pairs that are looked at together; more of them do not stay in the cache


def decode(anchors: Array, deltas: Array, height: int, width: int) -> Array:
    """Move and scale boxes, and clip them to the picture.

    Args:
        anchors: (n, 4) float32 in pixels.
        deltas: (n, 4) float32: of the centre in sides, and logarithms of the sides' growth.
        height: of the picture in pixels.
        width: of the picture in pixels.

    Returns:
        (n, 4) float32.
    """
    sides = anchors[:, 2:] - anchors[:, :2]
    centre = (anchors[:, :2] + anchors[:, 2:]) * np.float32(0.5) + sides * deltas[:, :2]
    half = sides * np.exp(np.clip(deltas[:, 2:], -_LARGEST, _LARGEST)) * np.float32(0.5)
    boxes = np.concatenate((centre - half, centre + half), axis=1)
    limits = np.array((width, height, width, height), np.float32)
    clipped: Array = np.clip(boxes, 0, limits, out=boxes)
    return clipped


def suppress(boxes: Array, scores: Array, groups: Array, iou_thr: float, most: int) -> Array:
    """Greedy suppression within each group, of all groups at once.

    As ``nms``, for thousands of boxes.

    Args:
        boxes: (n, 4) float32.
        scores: (n,); equal scores keep their order.
        groups: (n,) integers, such as levels or classes.
        iou_thr: a box goes when it overlaps a better one of its group by more than this.
        most: so many stay.

    Returns:
        (k,) int64, indices of the boxes that stay, best first.
    """
    way = nms if can_compile() else suppress_in_numpy
    return way(boxes, scores, groups, iou_thr, most)


def suppress_in_numpy(
    boxes: Array, scores: Array, groups: Array, iou_thr: float, most: int
) -> Array:
    """As ``suppress``.

    Instead of a box with all others, only those are compared that begin at about the same x: the
    IoU of two boxes is never more than that of their extents in x.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, kinds = boxes[order], groups[order]
    found = [_overlapping(ranked, *pair, iou_thr) for pair in _near(ranked, kinds, iou_thr)]
    if not found:
        return order[:most]
    better, worse = (np.concatenate(ends) for ends in zip(*found, strict=True))
    return order[_survivors(len(order), better, worse)][:most]


def _survivors(count: int, better: Array, worse: Array) -> Array:
    """Which boxes stay when each that stays removes those it is paired with as the better."""
    alive = np.ones(count, np.bool_)
    while len(better):
        doubtful = np.zeros(count, np.bool_)
        doubtful[worse] = True
        alive[worse[~doubtful[better]]] = False
        open_still = alive[better] & alive[worse]
        better, worse = better[open_still], worse[open_still]
    return alive


def _near(boxes: Array, groups: Array, iou_thr: float) -> Iterator[tuple[Array, Array]]:
    """Pairs of boxes of one group whose extents in x may overlap by more than ``iou_thr``."""
    reach = (boxes[:, 2] - boxes[:, 0]).astype(np.float64) * (1 - iou_thr) * 1.001 + 1e-3
    start = boxes[:, 0].astype(np.float64)
    gap = np.ptp(start) + reach.max() + 1 if len(start) else 1.0
    place = start + groups * gap  # groups lie apart from each other
    line = np.argsort(place, kind="stable")
    place = place[line]
    counts = np.searchsorted(place, place + reach[line], side="right") - np.arange(len(line)) - 1
    ends = np.cumsum(counts)
    first = 0
    while first < len(line):
        done = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + _CHUNK, side="right")))
        some = counts[first:last]
        one = np.repeat(np.arange(first, last), some)
        behind = np.arange(len(one)) - np.repeat(ends[first:last] - some - done, some)
        yield line[one], line[one + 1 + behind]
        first = last


def _overlapping(boxes: Array, one: Array, other: Array, iou_thr: float) -> tuple[Array, Array]:
    """Those pairs of ranks that overlap, the better rank first."""
    x1, y1, x2, y2 = np.ascontiguousarray(boxes.T)
    area = (x2 - x1) * (y2 - y1)
    high = _common(y1, y2, one, other)
    tallest = np.maximum((y2 - y1).take(one), (y2 - y1).take(other))
    # few are left for the rest: IoU is never more than that of the extents in y
    near = np.flatnonzero(high > tallest * (iou_thr * 0.999) - 1e-3)
    one, other = one.take(near), other.take(near)
    shared = np.maximum(_common(x1, x2, one, other), 0) * np.maximum(high.take(near), 0)
    # as a product, so that nothing is divided by no area at all
    over = np.flatnonzero(shared > iou_thr * (area.take(one) + area.take(other) - shared))
    one, other = one.take(over), other.take(over)
    return np.minimum(one, other), np.maximum(one, other)


def _common(low: Array, high: Array, one: Array, other: Array) -> Array:
    """The length that the extents of each pair share; less than 0 where they lie apart."""
    ends = np.minimum(high.take(one), high.take(other))
    return ends - np.maximum(low.take(one), low.take(other))
