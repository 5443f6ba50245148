"""Raw head maps to detections, compiled by numba; imported only where numba is installed.

The result is that of ``decode_candidates`` and ``select_detections`` in ``decoding.py``, computed
in one pass over the objectness: nothing is allocated for anchors below the threshold. A candidate's
box is decoded when its turn in the suppression comes, which ends with the last box that is wanted.
Both compute exponentials in float64, so that they are the same once they are rounded to float32.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np

from backends.contract import Array
from deploy.runtime.vision.argument_rules import ArrayOf, Each, Least, Number
from deploy.runtime.vision.compiling import compiled
from deploy.runtime.vision.nms_compiled import overlaps

_CHUNK = 64  # cells whose objectness is compared together
_TOGETHER = 32  # anchors whose classes are read together


_MAX_LOG_SIZE = np.float32(20)


_MIN_LOGIT = np.float32(-80)


Maps = Annotated[
    tuple[Array, ...],
    Each("levels", ArrayOf("float32", "anchors", Least(5, "attributes"), None)),
]
"""(anchors, 5 + classes, cells) of each level, coarsest first."""


Rows = Annotated[Array, ArrayOf("float32", "anchors", Least(5, "attributes"), "cells")]
"""(anchors, 5 + classes, cells) of a level."""


@compiled
def _exp(x: np.float32) -> np.float32:
    """Rounded once, as NumPy's is in ``decoding.py``."""
    return np.float32(np.exp(np.float64(x)))


@compiled
def _sigmoid(x: np.float32) -> np.float32:
    probability: np.float32 = np.float32(1) / (np.float32(1) + _exp(-max(x, _MIN_LOGIT)))
    return probability


@compiled
def _appended(
    array: Annotated[Array, ArrayOf(None, "rows", "columns")],
    count: int,
    more: Annotated[Array, ArrayOf(None, "more", "columns")],
) -> Array:
    """The array, or a longer one, in which ``more`` follows the first ``count`` rows."""
    count = max(0, min(count, len(array)))
    end = count + len(more)
    if end > len(array):
        longer = np.empty((2 * end, array.shape[1]), array.dtype)
        longer[:count] = array[:count]
        array = longer
    array[count:end] = more
    return array


@compiled
def _likely_anchors(rows: Rows, min_conf: np.float32) -> Array:
    """Anchors and cells (2, n) int64 whose objectness is not below, ordered by cell."""
    anchors, _, cells = rows.shape
    likely, count = np.empty((256, 2), np.int64), 0
    is_likely, found = np.empty(_CHUNK, np.bool_), np.empty((_CHUNK * anchors, 2), np.int64)
    for first in range(0, cells, _CHUNK):
        size = min(_CHUNK, cells - first)
        is_likely[:] = False
        for anchor in range(anchors):
            for place in range(size):  # no branch: eight or more cells at once
                is_likely[place] |= rows[anchor, 4, first + place] >= min_conf
        if not is_likely.any():
            continue
        more = 0
        for place in range(size):
            if not is_likely[place]:
                continue
            for anchor in range(anchors):
                if rows[anchor, 4, first + place] >= min_conf:
                    found[more, 0], found[more, 1] = anchor, first + place
                    more += 1
        likely = _appended(likely, count, found[:more])
        count += more
    return likely[:count].T.copy()


@compiled
def _above_thresholds(
    rows: Rows,
    level: int,
    anchors: Annotated[Array, ArrayOf("int64", "n", index_of="anchors")],
    cells: Annotated[Array, ArrayOf("int64", "n", index_of="cells")],
    min_score: np.float32,
    thresholds: tuple[float, float],
) -> tuple[Array, Array]:
    """Pairs of these anchors and a class, as ``find_candidates`` returns them.

    The logits are copied first: that waits for several reads at once, where a comparison after each
    would wait for one after the other.
    """
    logits, pairs = np.empty((len(anchors), rows.shape[1] - 5), np.float32), 0
    for index, anchor in enumerate(anchors):
        cell = cells[index]
        for label in range(logits.shape[1]):
            logits[index, label] = rows[anchor, 5 + label, cell]
        for label in range(logits.shape[1]):
            pairs += logits[index, label] > min_score
    positions, values = np.empty((pairs, 4), np.int64), np.empty((pairs, 2), np.float32)
    count = 0
    for index, anchor in enumerate(anchors):
        cell = cells[index]
        confidence = _sigmoid(rows[anchor, 4, cell])
        if not confidence >= thresholds[0]:
            continue
        for label in range(logits.shape[1]):
            if not logits[index, label] > min_score:
                continue
            class_score = _sigmoid(logits[index, label])
            if class_score > thresholds[1]:
                positions[count, 0], positions[count, 1] = level, anchor
                positions[count, 2], positions[count, 3] = cell, label
                values[count, 0], values[count, 1] = class_score, confidence
                count += 1
    return positions[:count], values[:count]


@compiled
def find_candidates(
    maps: Maps,
    conf_logit: float,
    score_logit: float,
    conf_thr: float,
    score_thr: float,
) -> tuple[Array, Array]:
    """Pairs of an anchor and a class above both thresholds, in MMDetection's order.

    Returns:
        Level, anchor, cell and label (n, 4) int64; class score and objectness (n, 2) float32.
    """
    positions, values, count = np.empty((256, 4), np.int64), np.empty((256, 2), np.float32), 0
    min_conf, min_score = np.float32(conf_logit), np.float32(score_logit)
    thresholds = float(np.float32(conf_thr)), float(np.float32(score_thr))
    for level, rows in enumerate(maps):
        anchors, cells = _likely_anchors(rows, min_conf)
        for first in range(0, len(anchors), _TOGETHER):
            together = slice(first, first + _TOGETHER)
            found, scores = _above_thresholds(
                rows, level, anchors[together], cells[together], min_score, thresholds
            )
            positions, values = _appended(positions, count, found), _appended(values, count, scores)
            count += len(found)
    return positions[:count], values[:count]


@compiled
def ranked(values: Annotated[Array, ArrayOf("float32", "n", 2)], most: int) -> tuple[Array, Array]:
    """Those with the best class scores, at the most so many, ordered by their scores.

    Args:
        values: (n, 2) float32 class score and objectness; the score is their product.
        most: how many.

    Returns:
        Indices (k,) int64 and scores (k,) float32, best first. Equal ones stay in their order.
    """
    best = np.argsort(-values[:, 0], kind="mergesort")[:most]
    scores = values[best, 0] * values[best, 1]
    order = np.argsort(-scores, kind="mergesort")
    return best[order], scores[order]


@compiled
def _corners(
    deltas: Annotated[Array, ArrayOf("float32", 4)],
    half: Annotated[Array, ArrayOf("float32", 2)],
    column: int,
    row: int,
    stride: np.float32,
) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """The box of an anchor: x1, y1, x2 and y2 in input pixels."""
    half_cell = np.float32(0.5)
    x = (np.float32(column) + half_cell) * stride
    x += (_sigmoid(deltas[0]) - half_cell) * stride
    y = (np.float32(row) + half_cell) * stride
    y += (_sigmoid(deltas[1]) - half_cell) * stride
    half_width = _exp(min(deltas[2], _MAX_LOG_SIZE)) * half[0]
    half_height = _exp(min(deltas[3], _MAX_LOG_SIZE)) * half[1]
    return x - half_width, y - half_height, x + half_width, y + half_height


@compiled
def decode_maps(
    maps: Maps,
    widths: Annotated[tuple[int, ...], Each("levels", Number(whole=True))],
    half: Annotated[Array, ArrayOf("float32", "levels", "anchors", 2)],
    strides: Annotated[Array, ArrayOf("float32", "levels")],
    logits: tuple[float, float],
    thresholds: tuple[float, float, float],
    max_counts: tuple[int, int],
) -> tuple[Array, Array, Array]:
    """Boxes (n, 4) float32 in input pixels, scores (n,) float32 and labels (n,) int64, best first.

    Args:
        maps: (anchors, 5 + classes, cells) of each level, coarsest first.
        widths: of each level, in cells.
        half: (levels, anchors, 2) float32 half the anchors' sizes in input pixels.
        strides: (levels,) float32.
        logits: of the least objectness and the least class score, less ``SLACK``.
        thresholds: objectness, class score, IoU.
        max_counts: candidates that enter NMS, and detections of a picture.
    """
    positions, values = find_candidates(maps, *logits, thresholds[0], thresholds[1])
    candidates, scores = ranked(values, max_counts[0])
    most, iou_thr = max(0, min(max_counts[1], len(candidates))), np.float32(thresholds[2])
    kept, boxes = np.empty(most, np.int64), np.empty((most, 4), np.float32)
    classes, count = 0, 0
    for rows in maps:
        classes = rows.shape[1] - 5
    # the boxes of a class are a list: its last one, and of each the one before it
    last, before = np.full(classes, -1), np.empty(most, np.int64)
    for rank, candidate in enumerate(candidates):
        if count == most:
            break
        level, anchor, cell, label = positions[candidate]
        row, column = divmod(cell, widths[level])
        deltas = maps[level][anchor, :4, cell]
        x1, y1, x2, y2 = _corners(deltas, half[level, anchor], column, row, strides[level])
        # written so that NaN does not pass
        if not (x2 > x1 and y2 > y1 and np.isfinite(x2 - x1) and np.isfinite(y2 - y1)):
            continue
        boxes[count] = x1, y1, x2, y2
        better = last[label]
        while better >= 0 and not overlaps(boxes[better], boxes[count], iou_thr):
            better = before[better]
        if better < 0:
            kept[count], before[count], last[label] = rank, last[label], count
            count += 1
    kept = kept[:count]
    return boxes[:count], scores[kept], positions[candidates[kept], 3]
