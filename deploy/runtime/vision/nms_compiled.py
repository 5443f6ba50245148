"""Non-maximum suppression compiled by numba; only imported where it is installed."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from backends.contract import Array
from deploy.runtime.vision.argument_rules import ArrayOf
from deploy.runtime.vision.compiling import compiled


@compiled
def overlaps(
    one: Annotated[Array, ArrayOf("float32", 4)],
    other: Annotated[Array, ArrayOf("float32", 4)],
    iou_thr: np.float32,
) -> bool:
    """Whether the IoU of two boxes is above this."""
    zero = np.float32(0)
    width = min(one[2], other[2]) - max(one[0], other[0])
    if width <= zero:
        return False
    height = min(one[3], other[3]) - max(one[1], other[1])
    if height <= zero:
        return False
    intersection = width * height
    areas = (one[2] - one[0]) * (one[3] - one[1]), (other[2] - other[0]) * (other[3] - other[1])
    union = areas[0] + areas[1] - intersection
    above: bool = union > zero and intersection / union > iou_thr
    return above


@compiled
def greedy(
    boxes: Annotated[Array, ArrayOf("float32", "n", 4)],
    order: Annotated[Array, ArrayOf("int64", "k", index_of="n")],
    labels: Annotated[Array, ArrayOf("int64", "n")],
    iou_thr: float,
    most: int,
) -> Array:
    """Those of ``order`` that are kept; bit-equal to ``greedy_in_blocks``.

    Args:
        boxes: (n, 4) float32.
        order: (k,) int64, indices of boxes, best first.
        labels: (n,) int64.
        iou_thr: a box is suppressed when its IoU with a better one of its class is above this.
        most: stop after this many boxes.
    """
    kept = np.empty(max(0, min(most, len(order))), np.int64)
    count, bound = 0, np.float32(iou_thr)
    for box in order:
        if count == len(kept):
            break
        is_kept = True
        for better in kept[:count]:
            if labels[better] == labels[box] and overlaps(boxes[better], boxes[box], bound):
                is_kept = False
                break
        if is_kept:
            kept[count] = box
            count += 1
    return kept[:count]
