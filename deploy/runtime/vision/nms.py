"""Non-maximum suppression: compiled where numba is installed, else in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np

from backends.contract import Array
from deploy.runtime.vision.compiled_later import compiled_later
from deploy.runtime.vision.compiling import as_compiled, can_compile

Suppression = Callable[[Array, Array, Array, float, int], Array]
"""As ``nms``; or as ``greedy_in_blocks``, whose second argument is an order."""


_BLOCK = 128  # boxes that are compared at once; their IoU matrices fit into the CPU cache


def iou_of(box: Array, boxes: Array) -> Array:
    """Intersection over union (n,) of one box (4,) with boxes (n, 4)."""
    row: Array = iou(box[None], boxes)[0]
    return row


def iou(rows: Array, columns: Array) -> Array:
    """Intersection over union (n, m) of boxes (n, 4) with boxes (m, 4); 0 for an empty union."""
    x1, y1, x2, y2 = rows.T[:, :, None]
    left, top, right, bottom = columns.T[:, None]
    intersection = np.minimum(x2, right)
    intersection -= np.maximum(x1, left)
    height = np.minimum(y2, bottom)
    height -= np.maximum(y1, top)
    np.maximum(intersection, 0, out=intersection)
    intersection *= np.maximum(height, 0, out=height)
    union = (x2 - x1) * (y2 - y1) + (right - left) * (bottom - top)
    union -= intersection
    zeros = np.zeros_like(intersection)
    ratio: Array = np.divide(intersection, union, out=zeros, where=union > 0)
    return ratio


def nms(boxes: Array, scores: Array, labels: Array, iou_thr: float, most: int) -> Array:
    """Greedy suppression within each class.

    Labels are compared; no offset moves the classes apart, so coordinates may be of any size.

    Args:
        boxes: (n, 4) float32.
        scores: (n,); equal scores keep their order.
        labels: (n,).
        iou_thr: a box is suppressed when its IoU with a better one of its class is above this.
        most: stop after this many boxes.

    Returns:
        Indices (k,) of the boxes that are kept, best first.
    """
    return _sorted_and_suppressed(_greedy(), boxes, scores, labels, iou_thr, most)


def compiled_nms() -> Suppression:
    """``nms`` in machine code, which is loaded, or compiled, now."""
    return partial(_sorted_and_suppressed, _load_greedy())


def _sorted_and_suppressed(
    greedy: Suppression, boxes: Array, scores: Array, labels: Array, iou_thr: float, most: int
) -> Array:
    order = np.argsort(-scores, kind="stable")
    boxes, labels = as_compiled(boxes, np.float32), as_compiled(labels, np.int64)
    return greedy(boxes, order, labels, iou_thr, most)


def _greedy() -> Suppression:
    return _greedy_later() if can_compile() else greedy_in_blocks


@cache
def _greedy_later() -> Suppression:
    """One of this process, since its machine code is loaded once."""
    return compiled_later(greedy_in_blocks, _load_greedy)


def _load_greedy() -> Suppression:
    from deploy.runtime.vision.nms_compiled import greedy

    none = np.empty(0, np.int64)
    greedy(np.empty((0, 4), np.float32), none, none, 0.5, 1)
    return greedy


def greedy_in_blocks(boxes: Array, order: Array, labels: Array, iou_thr: float, most: int) -> Array:
    """Those of ``order`` (k,), indices of boxes with the best first, that are kept; see ``nms``."""
    kept = order[:0]
    for first in range(0, len(order), _BLOCK):
        block = order[first : first + _BLOCK]
        if len(kept):
            block = block[~_overlaps(boxes, labels, kept, block, iou_thr).any(axis=0)]
        overlaps = _overlaps(boxes, labels, block, block, iou_thr)
        kept = np.concatenate((kept, block[_kept_ranks(overlaps)]))
        if len(kept) >= most:
            break
    return kept[:most]


def _overlaps(boxes: Array, labels: Array, rows: Array, columns: Array, iou_thr: float) -> Array:
    """Which boxes of ``rows`` (n,) and ``columns`` (m,) overlap within their class: (n, m) bool."""
    overlaps = iou(boxes[rows], boxes[columns]) > iou_thr
    overlaps &= labels[rows][:, None] == labels[columns]
    return overlaps


def _kept_ranks(overlaps: Array) -> list[int]:
    """The ranks that are kept, where each kept box suppresses all that it overlaps (n, n).

    A row of the matrix is one integer of n bits, so that a box costs a few integer operations.
    """
    rows = np.packbits(overlaps, axis=1, bitorder="little")
    suppressed, kept = 0, []
    for rank, row in enumerate(rows):
        if not suppressed >> rank & 1:
            kept.append(rank)
            suppressed |= int.from_bytes(row.tobytes(), "little")
    return kept
