"""Box deltas to boxes, and batched NMS, with MMDetection's semantics (3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from math import log

import numpy as np

from backends.contract import Array
from deploy.runtime.vision.compiled_later import compiled_later
from deploy.runtime.vision.compiling import can_compile
from deploy.runtime.vision.nms import Suppression, compiled_nms

MAX_LOG_SCALE = abs(log(16 / 1000))
"""The bound of a side's log scale: MMDetection's ``wh_ratio_clip``."""


_CHUNK = 1 << 16  # pairs compared at a time; more of them do not fit the CPU's cache


def decode_deltas(anchors: Array, deltas: Array, height: int, width: int) -> Array:
    """Apply deltas to boxes, and clip the result to the picture; ``delta2bbox`` in MMDetection.

    Args:
        anchors: (n, 4) float32 in pixels.
        deltas: (n, 4) float32: shift of the centre x and y in widths and heights, then the log
            scale of width and height.
        height: of the picture in pixels.
        width: of the picture in pixels.

    Returns:
        (n, 4) float32 x1, y1, x2, y2.
    """
    sides = anchors[:, 2:] - anchors[:, :2]
    centre = (anchors[:, :2] + anchors[:, 2:]) * np.float32(0.5) + sides * deltas[:, :2]
    half = sides * np.exp(np.clip(deltas[:, 2:], -MAX_LOG_SCALE, MAX_LOG_SCALE)) * np.float32(0.5)
    boxes = np.concatenate((centre - half, centre + half), axis=1)
    limits = np.array((width, height, width, height), np.float32)
    clipped: Array = np.clip(boxes, 0, limits, out=boxes)
    return clipped


def batched_nms(
    boxes: Array, scores: Array, groups: Array, iou_thr: float, max_boxes: int
) -> Array:
    """Greedy NMS within each group, for thousands of boxes.

    Args:
        boxes: (n, 4) float32 x1, y1, x2, y2.
        scores: (n,); equal scores keep their order.
        groups: (n,) integers, such as levels or classes.
        iou_thr: a box is removed when its IoU with a better one of its group exceeds this.
        max_boxes: the largest number of boxes to keep.

    Returns:
        (k,) int64, indices of the kept boxes, best first.
    """
    implementation = _batched_nms_later() if can_compile() else batched_nms_numpy
    return implementation(boxes, scores, groups, iou_thr, max_boxes)


@cache
def _batched_nms_later() -> Suppression:
    """One of this process, since its machine code is loaded once."""
    return compiled_later(batched_nms_numpy, compiled_nms)


def batched_nms_numpy(
    boxes: Array, scores: Array, groups: Array, iou_thr: float, max_boxes: int
) -> Array:
    """See ``batched_nms``.

    Only boxes whose extents in x overlap enough are compared: the IoU of two boxes is at most the
    IoU of their extents in x.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, ranked_groups = boxes[order], groups[order]
    overlaps = [
        _overlapping_pairs(ranked, *pairs, iou_thr)
        for pairs in _candidate_pairs(ranked, ranked_groups, iou_thr)
    ]
    if not overlaps:
        return order[:max_boxes]
    better, worse = (np.concatenate(ranks) for ranks in zip(*overlaps, strict=True))
    return order[_resolve(len(order), better, worse)][:max_boxes]


def _resolve(count: int, better: Array, worse: Array) -> Array:
    """Mask (count,) of the boxes that greedy NMS keeps, given all overlapping pairs by rank."""
    alive = np.ones(count, np.bool_)
    while len(better):
        undecided = np.zeros(count, np.bool_)
        undecided[worse] = True
        alive[worse[~undecided[better]]] = False
        remaining = alive[better] & alive[worse]
        better, worse = better[remaining], worse[remaining]
    return alive


def _candidate_pairs(boxes: Array, groups: Array, iou_thr: float) -> Iterator[tuple[Array, Array]]:
    """Pairs of boxes of one group whose extents in x may overlap by more than ``iou_thr``."""
    reach = (boxes[:, 2] - boxes[:, 0]).astype(np.float64) * (1 - iou_thr) * 1.001 + 1e-3
    start = boxes[:, 0].astype(np.float64)
    gap = np.ptp(start) + reach.max() + 1 if len(start) else 1.0
    position = start + groups * gap  # boxes of different groups never come within reach
    by_position = np.argsort(position, kind="stable")
    position = position[by_position]
    limits = np.searchsorted(position, position + reach[by_position], side="right")
    counts = limits - np.arange(len(by_position)) - 1
    ends = np.cumsum(counts)
    first = 0
    while first < len(by_position):
        done = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + _CHUNK, side="right")))
        chunk = counts[first:last]
        left = np.repeat(np.arange(first, last), chunk)
        offset = np.arange(len(left)) - np.repeat(ends[first:last] - chunk - done, chunk)
        yield by_position[left], by_position[left + 1 + offset]
        first = last


def _overlapping_pairs(
    boxes: Array, left: Array, right: Array, iou_thr: float
) -> tuple[Array, Array]:
    """The pairs of ranks whose IoU exceeds ``iou_thr``, the better rank first."""
    x1, y1, x2, y2 = np.ascontiguousarray(boxes.T)
    area = (x2 - x1) * (y2 - y1)
    common_height = _common_length(y1, y2, left, right)
    tallest = np.maximum((y2 - y1).take(left), (y2 - y1).take(right))
    # a cheap filter first: the IoU is at most the IoU of the extents in y
    near = np.flatnonzero(common_height > tallest * (iou_thr * 0.999) - 1e-3)
    left, right = left.take(near), right.take(near)
    common_width = np.maximum(_common_length(x1, x2, left, right), 0)
    intersection = common_width * np.maximum(common_height.take(near), 0)
    union = area.take(left) + area.take(right) - intersection
    # a product, since the union may be 0
    over = np.flatnonzero(intersection > iou_thr * union)
    left, right = left.take(over), right.take(over)
    return np.minimum(left, right), np.maximum(left, right)


def _common_length(low: Array, high: Array, left: Array, right: Array) -> Array:
    """The common length of the extents of each pair; below 0 where they are disjoint."""
    return np.minimum(high.take(left), high.take(right)) - np.maximum(
        low.take(left), low.take(right)
    )
