"""Raw head maps to detections, compiled by numba; imported only where numba is installed.

The result is that of ``decode_candidates`` and ``select_detections`` in ``decoding.py``, computed
in one pass over the objectness: nothing is allocated for anchors below the threshold. Exponentials
may differ from NumPy's in their last bit.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np

from backends.contract import Array
from deploy.runtime.vision.argument_rules import ArrayOf, Each, Least, Number
from deploy.runtime.vision.compiling import compiled
from deploy.runtime.vision.nms_compiled import greedy

_CHUNK = 64  # cells whose objectness is compared together


_MAX_LOG_SIZE = np.float32(20)


_MIN_LOGIT = np.float32(-80)


Maps = Annotated[
    tuple[Array, ...],
    Each("levels", ArrayOf("float32", "anchors", Least(5, "attributes"), None)),
]
"""(anchors, 5 + classes, cells) of each level, coarsest first."""


@compiled
def _sigmoid(x: np.float32) -> np.float32:
    probability: np.float32 = np.float32(1) / (np.float32(1) + np.exp(-max(x, _MIN_LOGIT)))
    return probability


@compiled
def _doubled(array: Annotated[Array, ArrayOf(None, "rows", "columns")]) -> Array:
    larger = np.empty((2 * len(array), array.shape[1]), array.dtype)
    larger[: len(array)] = array
    return larger


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
    for level, rows in enumerate(maps):
        anchors, attributes, cells = rows.shape
        for first in range(0, cells, _CHUNK):
            last = min(first + _CHUNK, cells)
            likely = 0
            for anchor in range(anchors):
                for cell in range(first, last):  # no branch: eight or more cells at once
                    likely += rows[anchor, 4, cell] >= min_conf
            if likely == 0:
                continue
            for cell in range(first, last):
                for anchor in range(anchors):
                    if not rows[anchor, 4, cell] >= min_conf:
                        continue
                    confidence = _sigmoid(rows[anchor, 4, cell])
                    if not confidence >= np.float32(conf_thr):
                        continue
                    for label in range(attributes - 5):
                        if not rows[anchor, 5 + label, cell] > min_score:
                            continue
                        class_score = _sigmoid(rows[anchor, 5 + label, cell])
                        if not class_score > np.float32(score_thr):
                            continue
                        if count == len(positions):
                            positions, values = _doubled(positions), _doubled(values)
                        positions[count] = level, anchor, cell, label
                        values[count] = class_score, confidence
                        count += 1
    return positions[:count], values[:count]


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
        maps: (anchors, 5 + classes, cells) float32 of each level, coarsest first.
        widths: of each level, in cells.
        half: (levels, anchors, 2) float32 half the anchors' sizes in input pixels.
        strides: (levels,) float32.
        logits: of the least objectness and the least class score, less ``SLACK``.
        thresholds: objectness, class score, IoU.
        max_counts: candidates that enter NMS, and detections of a picture.
    """
    positions, values = find_candidates(maps, *logits, thresholds[0], thresholds[1])
    best = np.argsort(-values[:, 0], kind="mergesort")[: max_counts[0]]
    boxes = np.empty((len(best), 4), np.float32)
    scores, labels, count = np.empty(len(best), np.float32), np.empty(len(best), np.int64), 0
    for candidate in best:
        level, anchor, cell, label = positions[candidate]
        stride, rows = strides[level], maps[level]
        row, column = divmod(cell, widths[level])
        half_cell = np.float32(0.5)
        x = (np.float32(column) + half_cell) * stride
        x += (_sigmoid(rows[anchor, 0, cell]) - half_cell) * stride
        y = (np.float32(row) + half_cell) * stride
        y += (_sigmoid(rows[anchor, 1, cell]) - half_cell) * stride
        half_width = np.exp(min(rows[anchor, 2, cell], _MAX_LOG_SIZE)) * half[level, anchor, 0]
        half_height = np.exp(min(rows[anchor, 3, cell], _MAX_LOG_SIZE)) * half[level, anchor, 1]
        x1, y1, x2, y2 = x - half_width, y - half_height, x + half_width, y + half_height
        # written so that NaN does not pass
        if x2 > x1 and y2 > y1 and np.isfinite(x2 - x1) and np.isfinite(y2 - y1):
            boxes[count] = x1, y1, x2, y2
            scores[count], labels[count] = values[candidate, 0] * values[candidate, 1], label
            count += 1
    order = np.argsort(-scores[:count], kind="mergesort")
    kept = greedy(boxes, order, labels, thresholds[2], max_counts[1])
    return boxes[kept], scores[kept], labels[kept]
