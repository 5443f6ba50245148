"""Non-maximum suppression, as machine code where numba is installed, and else in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from backends.contract import Array
from deploy.runtime.vision.compiling import as_compiled, can_compile

_BLOCK = 128  # boxes that are compared with each other at once; their matrices stay in the cache


def iou_of(box: Array, boxes: Array) -> Array:
    """Intersection over union (n,) of one box (4,) with boxes (n, 4)."""
    row: Array = iou(box[None], boxes)[0]
    return row


def iou(one: Array, other: Array) -> Array:
    """Intersection over union (n, m) of boxes (n, 4) with boxes (m, 4); 0 for two without area."""
    x1, y1, x2, y2 = one.T[:, :, None]
    left, top, right, bottom = other.T[:, None]
    shared = np.minimum(x2, right)
    shared -= np.maximum(x1, left)
    high = np.minimum(y2, bottom)
    high -= np.maximum(y1, top)
    np.maximum(shared, 0, out=shared)
    shared *= np.maximum(high, 0, out=high)
    union = (x2 - x1) * (y2 - y1) + (right - left) * (bottom - top)
    union -= shared
    found: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return found


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
    order = np.argsort(-scores, kind="stable")
    boxes, labels = as_compiled(boxes, np.float32), as_compiled(labels, np.int64)
    return _greedy()(boxes, order, labels, iou_thr, most)


@cache
def _greedy() -> Callable[[Array, Array, Array, float, int], Array]:
    if can_compile():
        from deploy.runtime.vision.nms_compiled import greedy

        return greedy
    return greedy_in_blocks


def greedy_in_blocks(boxes: Array, order: Array, labels: Array, iou_thr: float, most: int) -> Array:
    """Those of ``order`` (k,), indices of boxes with the best first, that stay; see ``nms``."""
    kept = order[:0]
    for first in range(0, len(order), _BLOCK):
        block = order[first : first + _BLOCK]
        if len(kept):
            block = block[~_rivals(boxes, labels, kept, block, iou_thr).any(axis=0)]
        inside = _rivals(boxes, labels, block, block, iou_thr)
        kept = np.concatenate((kept, block[_survivors(inside)]))
        if len(kept) >= most:
            break
    return kept[:most]


def _rivals(boxes: Array, labels: Array, one: Array, other: Array, iou_thr: float) -> Array:
    """Which of the boxes ``one`` (n,) and ``other`` (m,) are of one class and overlap: (n, m)."""
    over = iou(boxes[one], boxes[other]) > iou_thr
    over &= labels[one][:, None] == labels[other]
    return over


def _survivors(rivals: Array) -> list[int]:
    """Which stay, in their order, when each that stays removes all its rivals (n, n) behind it.

    A row is one number of n bits, so that a box costs a few operations on numbers.
    """
    rows = np.packbits(rivals, axis=1, bitorder="little")
    gone, kept = 0, []
    for rank, row in enumerate(rows):
        if not gone >> rank & 1:
            kept.append(rank)
            gone |= int.from_bytes(row.tobytes(), "little")
    return kept
