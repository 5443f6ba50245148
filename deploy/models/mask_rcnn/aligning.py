"""RoIAlign in NumPy, equal to ``pooling.py`` and to mmcv's operator with ``aligned=True``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backends.contract import Array, TensorError, Tensors
from deploy.models.mask_rcnn.anchors import FINEST_SCALE, STRIDES

_LEVELS = 4  # that regions are looked at on


class RoIAlign:
    """The host step ``mask_rcnn.roi_align``, for engines that lack the operator.

    Args:
        size: cells of a side of the result.
        rois: name of the tensor of regions.
        output: name of the result.
    """

    def __init__(self, size: int, rois: str = "rois", output: str = "roi_feats") -> None:
        self._size, self._rois, self._output = size, rois, output

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Look at each region on the level of its size.

        Args:
            inputs: ``feats.0`` to ``feats.3`` (1, C, H, W), finest first, and the regions (n, 5) of
                0, x1, y1, x2, y2 in input pixels.

        Returns:
            (n, C, size, size) float32 under the name of the output.

        Raises:
            TensorError: other shapes.
        """
        feats = [inputs[f"feats.{level}"] for level in range(_LEVELS)]
        rois = inputs[self._rois]
        if rois.shape != (len(rois), 5) or any(feat.ndim != 4 or len(feat) != 1 for feat in feats):
            raise TensorError(
                f"feats and {self._rois}",
                expected="[1, C, H, W] each, and [n, 5]",
                got=", ".join(str(list(array.shape)) for array in (*feats, rois)),
            )
        return {self._output: multi_level(feats, rois, self._size)}


def multi_level(feats: Sequence[Array], rois: Array, size: int) -> Array:
    """As ``pooling.multi_level``, of one picture.

    Args:
        feats: (1, C, H, W) per level, finest first.
        rois: (n, 5) float32 of 0, x1, y1, x2, y2 in input pixels.
        size: cells of a side of the result.

    Returns:
        (n, C, size, size) float32.
    """
    channels = feats[0].shape[1]
    pooled = np.empty((len(rois), channels, size, size), np.float32)
    levels = levels_of(rois, len(feats))
    for level, feat in enumerate(feats):
        chosen = np.flatnonzero(levels == level)
        if len(chosen):
            boxes = rois[chosen, 1:] / np.float32(STRIDES[level]) - np.float32(0.5)
            _align(feat[0], boxes, size, pooled, chosen)
    return pooled


def levels_of(rois: Array, count: int) -> Array:
    """The level (n,) int64 of each region (n, 5), by its size; 0 is the finest of ``count``."""
    sides = rois[:, 3:5] - rois[:, 1:3]
    size = np.sqrt(sides[:, 0] * sides[:, 1]) / np.float32(FINEST_SCALE) + np.float32(1e-6)
    levels: Array = (size[:, None] >= 2.0 ** np.arange(1, count)).sum(axis=1)
    return levels


def _align(feat: Array, boxes: Array, size: int, out: Array, rows: Array) -> None:
    """Put regions of one map (C, H, W) into rows of ``out``.

    A mean over samples is a product of two sums, one over rows and one over columns of the map.
    """
    first_x, across = _shares(boxes[:, 0], boxes[:, 2], size, feat.shape[2])
    first_y, down = _shares(boxes[:, 1], boxes[:, 3], size, feat.shape[1])
    last = np.ascontiguousarray(feat.transpose(1, 2, 0))  # channels last: long rows to multiply
    for number, row in enumerate(rows):
        x, y, over, under = first_x[number], first_y[number], across[number], down[number]
        part = last[y : y + under.shape[1], x : x + over.shape[1]]
        # column by column: products too small for the threads of BLAS, which wait for each other
        lines = under @ part.transpose(1, 0, 2)
        out[row] = np.matmul(over, lines.transpose(1, 0, 2)).transpose(2, 0, 1)


def _shares(low: Array, high: Array, size: int, cells: int) -> tuple[Array, list[Array]]:
    """The first cell (n,) that each region reads in a direction, and the share of each after it.

    Returns:
        The first, and for each region (size, cells read) float32.
    """
    counts = np.maximum(np.ceil((high - low) / size), 1).astype(np.int64)
    first = np.clip(np.floor(low), 0, cells - 1).astype(np.int64)
    last = np.clip(np.ceil(high), 0, cells - 1).astype(np.int64)
    shares: list[Array] = [np.empty(0)] * len(low)
    for count in np.unique(counts):
        some = np.flatnonzero(counts == count)
        steps = (np.arange(size * count, dtype=np.float32) + np.float32(0.5)) / (size * count)
        at = low[some, None] + (high - low)[some, None] * steps
        weight = ((at >= -1) & (at <= cells) & (high > low)[some, None]) / np.float32(count)
        span = int((last - first)[some].max()) + 1
        read = first[some, None] + np.arange(span)
        taps = 1 - np.abs(np.clip(at, 0, cells - 1)[:, :, None] - read[:, None])
        dense = (np.maximum(taps, 0) * weight[:, :, None]).reshape(-1, size, count, span).sum(2)
        for number, region in zip(some, dense.astype(np.float32), strict=True):
            shares[number] = region[:, : last[number] - first[number] + 1]
    return first, shares
