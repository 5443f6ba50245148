"""Raw head maps to detections: box decoding, thresholds, NMS; MMDetection's semantics (3.3).

``NumpyMapDecoder`` needs NumPy alone. ``CompiledMapDecoder`` runs ``decoding_numba.py``, where
numba is installed. Both give the same detections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import log
from typing import NamedTuple

import numpy as np

from backends.contract import Array, TensorError
from deploy.models.yolov3.anchors import STRIDES
from deploy.runtime.results.detections import Detections
from deploy.runtime.vision.compiled_later import compiled_later
from deploy.runtime.vision.compiling import as_compiled
from deploy.runtime.vision.nms import nms

MapDecoder = Callable[[Sequence[Array]], Detections]
"""Maps (channels, H, W) float32 of each level of one picture, coarsest first, to its detections."""


SLACK = 1e-3
"""Logits at most this far below a threshold are still computed exactly."""


MAX_LOG_SIZE = 20.0
"""The logarithm of a size in anchors: exp of it is far beyond any picture, and areas stay within
float32."""


@dataclass(frozen=True)
class Thresholds:
    """The thresholds of MMDetection's ``test_cfg``.

    Attributes:
        score_thr: a class score must exceed it; the objectness is not part of that score.
        conf_thr: the least objectness of an anchor.
        nms_pre: how many candidates with the best class scores enter NMS.
        iou_thr: NMS removes a box that overlaps a better one of its class by more than this IoU.
        max_per_img: the largest number of detections of a picture.
    """

    score_thr: float = 0.05
    conf_thr: float = 0.005
    nms_pre: int = 1000
    iou_thr: float = 0.45
    max_per_img: int = 100


class Candidates(NamedTuple):
    """Pairs of an anchor and a class, in the order level, row, column, anchor, class.

    Attributes:
        boxes: (n, 4) float32 x1, y1, x2, y2 in input pixels.
        scores: (n,) float32 class scores after the sigmoid.
        labels: (n,) int64 class indices.
        objectness: (n,) float32 after the sigmoid.
    """

    boxes: Array
    scores: Array
    labels: Array
    objectness: Array


@dataclass(frozen=True)
class AnchorGrid:
    """All anchors of maps of one size, numbered by level, then anchor, then cell.

    Attributes:
        sizes: height and width of each level, in cells.
        ends: for each level, the number of the first anchor after it.
        position: (n, 2) int64 anchor and cell within the level.
        rank: (n,) int64 position within the level in MMDetection's order: row, column, anchor.
        centre: (n, 2) float32 x and y of the cell's centre in input pixels.
        half: (n, 2) float32 half the anchor's width and height in input pixels.
        stride: (n, 1) float32 input pixels per cell.
    """

    sizes: tuple[tuple[int, int], ...]
    ends: Array
    position: Array
    rank: Array
    centre: Array
    half: Array
    stride: Array


def make_map_decoder(half: Array, thresholds: Thresholds) -> MapDecoder:
    """A decoder in NumPy, and in machine code later where that is possible.

    Args:
        half: (levels, anchors, 2) float32 half the anchors' widths and heights in input pixels.
        thresholds: the thresholds.

    Raises:
        TensorError: anchors of another shape.
    """
    in_numpy = NumpyMapDecoder(half, thresholds)
    return compiled_later(in_numpy, lambda: CompiledMapDecoder(half, thresholds))


class NumpyMapDecoder:
    """A ``MapDecoder`` in NumPy; the arguments are those of ``make_map_decoder``."""

    def __init__(self, half: Array, thresholds: Thresholds) -> None:
        _check_anchors(half)
        self._half = half
        self._thresholds = thresholds
        self._grid = make_anchor_grid([(0, 0)] * len(half), half)

    def __call__(self, maps: Sequence[Array]) -> Detections:
        """See ``MapDecoder``."""
        grid, rows = self._grid_for(maps), _split_anchors(maps, self._half)
        candidates = decode_candidates(
            rows, grid, self._thresholds.conf_thr, self._thresholds.score_thr
        )
        return select_detections(candidates, self._thresholds)

    def _grid_for(self, maps: Sequence[Array]) -> AnchorGrid:
        """The last grid is kept, since pictures usually have one size."""
        sizes = tuple((raw.shape[1], raw.shape[2]) for raw in maps)
        grid = self._grid
        if grid.sizes != sizes:
            grid = self._grid = make_anchor_grid(sizes, self._half)
        return grid


class CompiledMapDecoder:
    """A ``MapDecoder`` compiled by numba; the arguments are those of ``make_map_decoder``.

    Compilation, or loading of numba's cache, happens here and not at the first picture.
    """

    def __init__(self, half: Array, thresholds: Thresholds) -> None:
        from deploy.models.yolov3.decoding_numba import decode_maps

        _check_anchors(half)
        self._decode_maps = decode_maps
        self._half = half
        self._strides = np.array(STRIDES, np.float32)
        self._logits = logit(thresholds.conf_thr) - SLACK, logit(thresholds.score_thr) - SLACK
        self._thresholds = thresholds.conf_thr, thresholds.score_thr, thresholds.iou_thr
        self._max_counts = thresholds.nms_pre, thresholds.max_per_img
        self([np.zeros((half.shape[1] * 6, 1, 1), np.float32)] * len(half))

    def __call__(self, maps: Sequence[Array]) -> Detections:
        """See ``MapDecoder``."""
        rows = tuple([as_compiled(raw, np.float32) for raw in _split_anchors(maps, self._half)])
        boxes, scores, labels = self._decode_maps(
            rows,
            tuple([raw.shape[2] for raw in maps]),
            self._half,
            self._strides,
            self._logits,
            self._thresholds,
            self._max_counts,
        )
        return Detections(boxes, scores, labels)


def _check_anchors(half: Array) -> None:
    levels = len(STRIDES)
    if half.ndim != 3 or half.shape[::2] != (levels, 2) or not half.shape[1]:
        raise TensorError(
            "anchors", expected=f"[{levels}, 1 or more, 2]", got=str(list(half.shape))
        )


def _split_anchors(maps: Sequence[Array], half: Array) -> list[Array]:
    """The maps as (anchors, 5 + classes, cells)."""
    return [
        raw.reshape(half.shape[1], raw.shape[0] // half.shape[1], raw.shape[1] * raw.shape[2])
        for raw in maps
    ]


def select_detections(candidates: Candidates, thresholds: Thresholds) -> Detections:
    """Apply the thresholds, keep the best ``nms_pre`` candidates, and run NMS.

    Boxes without area, and boxes and scores that are not finite, are dropped.
    """
    boxes, scores, labels, objectness = candidates
    passing = (objectness >= thresholds.conf_thr) & (scores > thresholds.score_thr)
    best = np.flatnonzero(passing)
    best = best[np.argsort(-scores[best], kind="stable")[: thresholds.nms_pre]]
    best = best[(boxes[best, 2:] > boxes[best, :2]).all(axis=1)]
    with np.errstate(over="ignore", invalid="ignore"):  # coordinates may overflow float32
        detections = Detections(
            boxes[best].astype(np.float32),
            (scores[best] * objectness[best]).astype(np.float32),
            labels[best].astype(np.int64),
        ).finite()
        kept = nms(
            detections.boxes,
            detections.scores,
            detections.labels,
            thresholds.iou_thr,
            thresholds.max_per_img,
        )
    return detections.take(kept)


def make_anchor_grid(sizes: Sequence[tuple[int, int]], half: Array) -> AnchorGrid:
    """The anchors of maps of these heights and widths.

    Args:
        sizes: height and width of each level in cells, coarsest first.
        half: (levels, anchors, 2) half the anchors' widths and heights in input pixels.
    """
    levels = [_level_anchors(*level) for level in zip(sizes, half, STRIDES, strict=True)]
    position, rank, centre, halves, stride = (
        np.concatenate(arrays) for arrays in zip(*levels, strict=True)
    )
    ends = np.cumsum([len(level[0]) for level in levels])
    return AnchorGrid(tuple(sizes), ends, position, rank, centre, halves, stride)


def _level_anchors(size: tuple[int, int], half: Array, stride: int) -> tuple[Array, ...]:
    """Position, rank, centre, half size and stride of one level's anchors."""
    cells, anchors = size[0] * size[1], len(half)
    anchor, cell = np.divmod(np.arange(anchors * cells), cells)
    y, x = np.divmod(cell, size[1])
    centre = (np.stack((x, y), axis=1).astype(np.float32) + np.float32(0.5)) * np.float32(stride)
    return (
        np.stack((anchor, cell), axis=1),
        cell * anchors + anchor,
        centre,
        half[anchor],
        np.full((len(cell), 1), stride, np.float32),
    )


def decode_candidates(
    maps: Sequence[Array], grid: AnchorGrid, conf_thr: float, score_thr: float
) -> Candidates:
    """The candidates above both thresholds, and those at most ``SLACK`` below.

    Thresholds are compared with logits, so that for most anchors only the objectness is read.

    Args:
        maps: (anchors, 5 + classes, cells) float32 of each level, coarsest first.
        grid: the anchors of maps of this size.
        conf_thr: the least objectness.
        score_thr: class scores are above it.
    """
    objectness = np.concatenate([raw[:, 4].ravel() for raw in maps])
    likely = (objectness >= logit(conf_thr) - SLACK).nonzero()[0]
    rows, anchors = _gather_rows(maps, grid, likely)
    classes = rows.shape[1] - 5
    above = (rows[:, 5:] > logit(score_thr) - SLACK).ravel().nonzero()[0]
    row, label = np.divmod(above, classes)  # twice as fast as nonzero() of two dimensions
    deltas, anchor = rows[row, :4], anchors[row]
    scores, confidence = _sigmoid(rows[row, label + 5]), _sigmoid(objectness[anchor])
    return Candidates(_decode_boxes(deltas, grid, anchor), scores, label, confidence)


def _gather_rows(maps: Iterable[Array], grid: AnchorGrid, likely: Array) -> tuple[Array, Array]:
    """The rows (n, 5 + classes) of these anchors in MMDetection's order, and their numbers."""
    rows, numbers = [], []
    splits = likely.searchsorted(grid.ends)
    for raw, level in zip(maps, np.split(likely, splits[:-1]), strict=True):
        ordered = level[grid.rank[level].argsort()]
        anchor, cell = grid.position[ordered].T
        rows.append(raw[anchor, :, cell])
        numbers.append(ordered)
    return np.concatenate(rows), np.concatenate(numbers)


def _decode_boxes(deltas: Array, grid: AnchorGrid, anchor: Array) -> Array:
    centre = grid.centre[anchor] + (_sigmoid(deltas[:, :2]) - np.float32(0.5)) * grid.stride[anchor]
    half = _exp(np.minimum(deltas[:, 2:], MAX_LOG_SIZE)) * grid.half[anchor]
    return np.concatenate((centre - half, centre + half), axis=1)


def _sigmoid(logits: Array) -> Array:
    shares: Array = 1 / (1 + _exp(-np.maximum(logits, -80)))  # exp(80) is still a float32
    return shares


def _exp(values: Array) -> Array:
    """Of float32, rounded once: so machine code gives the same, whose float32 functions differ."""
    return np.exp(values, dtype=np.float64).astype(np.float32)


def logit(probability: float) -> float:
    """The inverse of the sigmoid; -inf at 0 and below, inf at 1 and above."""
    if 0 < probability < 1:
        return log(probability / (1 - probability))
    return -np.inf if probability <= 0 else np.inf
