"""Non-maximum suppression as machine code; only imported where numba is installed."""

from __future__ import annotations

import numpy as np

from backends.contract import Array
from deploy.runtime.vision.compiling import compiled


@compiled
def greedy(boxes: Array, order: Array, labels: Array, iou_thr: float, most: int) -> Array:
    """Those of ``order`` that stay; as ``nms`` decides it, with the same roundings.

    Args:
        boxes: (n, 4) float32.
        order: (k,) int64, indices of boxes, best first.
        labels: (n,) int64.
        iou_thr: a box goes when it overlaps a better one of its class by more than this.
        most: stop after this many.
    """
    kept = np.empty(min(most, len(order)), np.int64)
    count, bound, zero = 0, np.float32(iou_thr), np.float32(0)
    for one in order:
        if count == len(kept):
            break
        x1, y1, x2, y2 = boxes[one]
        area, stays = (x2 - x1) * (y2 - y1), True
        for other in kept[:count]:
            if labels[other] != labels[one]:
                continue
            wide = min(boxes[other, 2], x2) - max(boxes[other, 0], x1)
            if wide <= zero:
                continue
            high = min(boxes[other, 3], y2) - max(boxes[other, 1], y1)
            if high <= zero:
                continue
            shared = wide * high
            sides = boxes[other, 2] - boxes[other, 0], boxes[other, 3] - boxes[other, 1]
            union = sides[0] * sides[1] + area - shared
            if union > zero and shared / union > bound:
                stays = False
                break
        if stays:
            kept[count] = one
            count += 1
    return kept[:count]
