"""The whole host step as machine code; only imported where numba is installed.

It does what ``decoding.pairs`` and ``post.select`` do, in one pass over the objectness: nothing is
allocated for anchors that do not count. Exponentials may differ from NumPy's in their last bit.
"""

from __future__ import annotations

import numpy as np

from backends.contract import Array
from deploy.runtime.vision.compiling import compiled
from deploy.runtime.vision.nms_compiled import greedy

_CHUNK = 64  # cells whose objectness is looked at together


_LARGEST = np.float32(20)


_FLOOR = np.float32(-80)


@compiled
def _sigmoid(x: np.float32) -> np.float32:
    share: np.float32 = np.float32(1) / (np.float32(1) + np.exp(-max(x, _FLOOR)))
    return share


@compiled
def _grown(array: Array) -> Array:
    larger = np.empty((2 * len(array), array.shape[1]), array.dtype)
    larger[: len(array)] = array
    return larger


@compiled
def found_pairs(
    maps: tuple[Array, ...], conf_logit: float, score_logit: float, conf: float, score: float
) -> tuple[Array, Array]:
    """Pairs of an anchor and a class beyond both thresholds, in MMDetection's order.

    Returns:
        Level, anchor, cell and label (n, 4) int64; class score and objectness (n, 2) float32.
    """
    places, values, count = np.empty((256, 4), np.int64), np.empty((256, 2), np.float32), 0
    least, above = np.float32(conf_logit), np.float32(score_logit)
    for level, rows in enumerate(maps):
        anchors, attributes, cells = rows.shape
        for first in range(0, cells, _CHUNK):
            last = min(first + _CHUNK, cells)
            likely = 0
            for anchor in range(anchors):
                for cell in range(first, last):  # no branch: eight or more cells at once
                    likely += rows[anchor, 4, cell] >= least
            if likely == 0:
                continue
            for cell in range(first, last):
                for anchor in range(anchors):
                    if not rows[anchor, 4, cell] >= least:
                        continue
                    sure = _sigmoid(rows[anchor, 4, cell])
                    if not sure >= np.float32(conf):
                        continue
                    for label in range(attributes - 5):
                        if not rows[anchor, 5 + label, cell] > above:
                            continue
                        value = _sigmoid(rows[anchor, 5 + label, cell])
                        if not value > np.float32(score):
                            continue
                        if count == len(places):
                            places, values = _grown(places), _grown(values)
                        places[count] = level, anchor, cell, label
                        values[count] = value, sure
                        count += 1
    return places[:count], values[:count]


@compiled
def detect(
    maps: tuple[Array, ...],
    widths: tuple[int, ...],
    half: Array,
    strides: Array,
    logits: tuple[float, float],
    thresholds: tuple[float, float, float],
    most: tuple[int, int],
) -> tuple[Array, Array, Array]:
    """Boxes (n, 4) float32 in input pixels, scores (n,) float32 and labels (n,) int64, best first.

    Args:
        maps: (anchors, 5 + classes, cells) float32 of each level, coarsest first.
        widths: of the levels, in cells.
        half: (levels, anchors, 2) float32 half the anchors' sizes in input pixels.
        strides: (levels,) float32.
        logits: of the least objectness and the least class score, a little below.
        thresholds: objectness, class score, IoU.
        most: pairs that go on by their class score, boxes that stay.
    """
    places, values = found_pairs(maps, *logits, thresholds[0], thresholds[1])
    best = np.argsort(-values[:, 0], kind="mergesort")[: most[0]]
    boxes = np.empty((len(best), 4), np.float32)
    scores, labels, count = np.empty(len(best), np.float32), np.empty(len(best), np.int64), 0
    for one in best:
        level, anchor, cell, label = places[one]
        stride, rows = strides[level], maps[level]
        row, column = divmod(cell, widths[level])
        middle = np.float32(0.5)
        x = (np.float32(column) + middle) * stride
        x += (_sigmoid(rows[anchor, 0, cell]) - middle) * stride
        y = (np.float32(row) + middle) * stride
        y += (_sigmoid(rows[anchor, 1, cell]) - middle) * stride
        wide = np.exp(min(rows[anchor, 2, cell], _LARGEST)) * half[level, anchor, 0]
        high = np.exp(min(rows[anchor, 3, cell], _LARGEST)) * half[level, anchor, 1]
        x1, y1, x2, y2 = x - wide, y - high, x + wide, y + high
        # written so that what is not a number does not pass
        if x2 > x1 and y2 > y1 and np.isfinite(x2 - x1) and np.isfinite(y2 - y1):
            boxes[count] = x1, y1, x2, y2
            scores[count], labels[count] = values[one, 0] * values[one, 1], label
            count += 1
    order = np.argsort(-scores[:count], kind="mergesort")
    kept = greedy(boxes, order, labels, thresholds[2], most[1])
    return boxes[kept], scores[kept], labels[kept]
