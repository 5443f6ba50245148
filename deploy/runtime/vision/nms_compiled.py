"""Non-maximum suppression compiled by numba; only imported where it is installed."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from backends.contract import Array
from deploy.runtime.vision.argument_rules import ArrayOf
from deploy.runtime.vision.compiling import compiled


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
    count, bound, zero = 0, np.float32(iou_thr), np.float32(0)
    for box in order:
        if count == len(kept):
            break
        x1, y1, x2, y2 = boxes[box]
        area, is_kept = (x2 - x1) * (y2 - y1), True
        for better in kept[:count]:
            if labels[better] != labels[box]:
                continue
            width = min(boxes[better, 2], x2) - max(boxes[better, 0], x1)
            if width <= zero:
                continue
            height = min(boxes[better, 3], y2) - max(boxes[better, 1], y1)
            if height <= zero:
                continue
            intersection = width * height
            sides = boxes[better, 2] - boxes[better, 0], boxes[better, 3] - boxes[better, 1]
            union = sides[0] * sides[1] + area - intersection
            if union > zero and intersection / union > bound:
                is_kept = False
                break
        if is_kept:
            kept[count] = box
            count += 1
    return kept[:count]
