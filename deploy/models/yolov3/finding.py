"""Raw head maps to detections, as machine code where numba is installed, and else in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from backends.contract import Array
from deploy.models.yolov3.anchors import STRIDES
from deploy.models.yolov3.decoding import SLACK, Grid, logit, make_grid, pairs
from deploy.models.yolov3.selecting import Limits, select
from deploy.runtime.vision.compiling import as_compiled, can_compile
from deploy.runtime.vision.detections import Detections

Find = Callable[[Sequence[Array]], Detections]
"""Maps (channels, H, W) float32 of each level of one picture to its detections."""


def finder(half: Array, limits: Limits) -> Find:
    """The fastest there is here.

    Args:
        half: (levels, anchors, 2) float32 half the anchors' widths and heights in input pixels.
        limits: the thresholds.
    """
    return CompiledFinder(half, limits) if can_compile() else NumpyFinder(half, limits)


class NumpyFinder:
    """In NumPy alone; the arguments are those of ``finder``."""

    def __init__(self, half: Array, limits: Limits) -> None:
        self._half = half
        self._limits = limits
        self._grid = make_grid([(0, 0)] * len(half), half)

    def __call__(self, maps: Sequence[Array]) -> Detections:
        """See ``Find``."""
        grid, rows = self._grid_for(maps), _rows(maps, self._half)
        found = pairs(rows, grid, self._limits.conf_thr, self._limits.score_thr)
        return select(*found, self._limits)

    def _grid_for(self, maps: Sequence[Array]) -> Grid:
        """The last one is kept: as a rule all maps have one size."""
        sizes = tuple((raw.shape[1], raw.shape[2]) for raw in maps)
        grid = self._grid
        if grid.sizes != sizes:
            grid = self._grid = make_grid(sizes, self._half)
        return grid


class CompiledFinder:
    """As machine code; the arguments are those of ``finder``.

    It is made, or read from where numba has kept it, here and not at the first picture.
    """

    def __init__(self, half: Array, limits: Limits) -> None:
        from deploy.models.yolov3.compiled import detect

        self._detect = detect
        self._half = half
        self._strides = np.array(STRIDES, np.float32)
        self._logits = logit(limits.conf_thr) - SLACK, logit(limits.score_thr) - SLACK
        self._thresholds = limits.conf_thr, limits.score_thr, limits.iou_thr
        self._most = limits.nms_pre, limits.max_per_img
        self([np.zeros((half.shape[1] * 6, 1, 1), np.float32)] * len(half))

    def __call__(self, maps: Sequence[Array]) -> Detections:
        """See ``Find``."""
        rows = tuple([as_compiled(raw, np.float32) for raw in _rows(maps, self._half)])
        boxes, scores, labels = self._detect(
            rows,
            tuple([raw.shape[2] for raw in maps]),
            self._half,
            self._strides,
            self._logits,
            self._thresholds,
            self._most,
        )
        return Detections(boxes, scores, labels)


def _rows(maps: Sequence[Array], half: Array) -> list[Array]:
    """The maps as (anchors, 5 + classes, cells)."""
    return [
        raw.reshape(half.shape[1], raw.shape[0] // half.shape[1], raw.shape[1] * raw.shape[2])
        for raw in maps
    ]
