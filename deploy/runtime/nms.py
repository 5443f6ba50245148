"""Non-maximum suppression in NumPy."""

from __future__ import annotations

import numpy as np

from backends.contract import Array


def iou_of(box: Array, boxes: Array) -> Array:
    """Intersection over union (n,) of one box (4,) with boxes (n, 4)."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - shared
    iou: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou


def nms(boxes: Array, scores: Array, labels: Array, iou_thr: float, most: int) -> Array:
    """Greedy suppression within each class.

    Classes are compared, not moved apart by an offset, so that no coordinate is too large for it.

    Args:
        boxes: (n, 4) float32.
        scores: (n,); equal scores keep their order.
        labels: (n,).
        iou_thr: a box goes when it overlaps a better one of its class by more than this.
        most: stop after this many.

    Returns:
        Indices of the boxes that stay, best first.
    """
    pending = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(pending) and len(kept) < most:
        best, pending = pending[0], pending[1:]
        kept.append(int(best))
        rivals = np.flatnonzero(labels[pending] == labels[best])
        if len(rivals):
            near = iou_of(boxes[best], boxes[pending[rivals]]) > iou_thr
            pending = np.delete(pending, rivals[near])
    return np.array(kept, dtype=np.int64)
