"""RoIAlign in NumPy; equal to ``roi_align_torch.py`` and mmcv's operator (``aligned=True``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np

from backends.bounds import Between, Name
from backends.contract import Array, TensorError, Tensors
from deploy.models.mask_rcnn.anchors import FINEST_SCALE, STRIDES

_LEVELS = 4  # pyramid levels that regions are pooled from
_MOST_SIDE = 16  # of a region, in sides of its map; the samples of a region grow with its sides


class RoIAlign:
    """The host step ``mask_rcnn.roi_align``, for engines without that operator.

    Formula:
        1. The regions are the tensor that ``rois`` names: rows 0, x1, y1, x2, y2. Each is pooled
           from one of the maps ``feats.0`` to ``feats.3``: with size = sqrt((x2 - x1) * (y2 - y1))
           / ``finest_scale`` + 0.000001, from the map whose number is how many of 2, 4 and 8 are at
           most the size.
        2. In cells of this map, the region is from low = x1 / ``strides`` - 0.5 to high = x2 /
           ``strides`` - 0.5, likewise in y.
        3. Along each side, with n = max(1, ceil((high - low) / ``size``)), cell i of the result has
           the samples at low + (high - low) * (i * n + k + 0.5) / (``size`` * n), k from 0 to n -
           1.
        4. A sample is 0 where it is below -1 or above the number of cells of the map in either
           direction, or where high is not above low. Otherwise clip it to the first and the last
           cell, and interpolate linearly in x and in y between the four cells around it.
        5. A value of the tensor that ``output`` names (regions, channels, ``size``, ``size``) is
           the mean of its samples.

    Args:
        size: cells of a side of the result.
        rois: name of the input tensor that holds the regions.
        output: name of the output tensor.
    """

    def __init__(
        self,
        size: Annotated[int, Between(1, 64)],
        rois: Name = "rois",
        output: Name = "roi_feats",
    ) -> None:
        self._size, self._rois, self._output = size, rois, output

    @staticmethod
    def formula_constants(**_: object) -> Mapping[str, object]:
        """The numbers of the formula that are no parameters."""
        return {"strides": STRIDES[:_LEVELS], "finest_scale": FINEST_SCALE}

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Pool each region from the level of its size.

        Args:
            inputs: ``feats.0`` to ``feats.3`` (1, C, H, W), finest first, and the regions (n, 5) of
                0, x1, y1, x2, y2 in input pixels.

        Returns:
            The output (n, C, size, size) float32 by its name.

        Raises:
            TensorError: an input has another shape, or a region is not finite or far larger than
                the picture.
        """
        feats = [inputs[f"feats.{level}"] for level in range(_LEVELS)]
        rois = inputs[self._rois]
        if rois.shape != (len(rois), 5) or any(feat.ndim != 4 or len(feat) != 1 for feat in feats):
            raise TensorError(
                f"feats and {self._rois}",
                expected="[1, C, H, W] each, and [n, 5]",
                got=", ".join(str(list(array.shape)) for array in (*feats, rois)),
            )
        return {self._output: multi_level_roi_align(feats, rois, self._size)}


def multi_level_roi_align(feats: Sequence[Array], rois: Array, size: int) -> Array:
    """RoIAlign of one picture, each region on the level of its size.

    Args:
        feats: (1, C, H, W) per level, finest first.
        rois: (n, 5) float32 of 0, x1, y1, x2, y2 in input pixels.
        size: cells of a side of the result.

    Returns:
        (n, C, size, size) float32.

    Raises:
        TensorError: a region is not finite, or far larger than the picture.
    """
    _check_regions(feats[0], rois)
    channels = feats[0].shape[1]
    pooled = np.empty((len(rois), channels, size, size), np.float32)
    levels = assign_levels(rois, len(feats))
    for level, feat in enumerate(feats):
        indices = np.flatnonzero(levels == level)
        if len(indices):
            boxes = rois[indices, 1:] / np.float32(STRIDES[level]) - np.float32(0.5)
            _roi_align(feat[0], boxes, size, pooled, indices)
    return pooled


def _check_regions(finest: Array, rois: Array) -> None:
    limits = np.array(finest.shape[:1:-1], np.float32) * STRIDES[0] * _MOST_SIDE
    sides = rois[:, 3:5] - rois[:, 1:3]
    # written so that NaN does not pass
    fits = np.isfinite(rois).all() and (sides <= limits).all()
    if not fits:
        raise TensorError(
            "regions",
            expected=f"finite, and sides of at most {limits.tolist()} pixels",
            got="others",
        )


def assign_levels(rois: Array, count: int) -> Array:
    """The level (n,) int64 of each region (n, 5), by its size; 0 is the finest of ``count``."""
    sides = rois[:, 3:5] - rois[:, 1:3]
    size = np.sqrt(sides[:, 0] * sides[:, 1]) / np.float32(FINEST_SCALE) + np.float32(1e-6)
    levels: Array = (size[:, None] >= 2.0 ** np.arange(1, count)).sum(axis=1)
    return levels


def _roi_align(feat: Array, boxes: Array, size: int, out: Array, rows: Array) -> None:
    """Pool regions of one map (C, H, W) into these rows of ``out``.

    Bilinear sampling is separable: a weighted sum over rows, then one over columns of the map.
    """
    first_x, x_weights = _weights(boxes[:, 0], boxes[:, 2], size, feat.shape[2])
    first_y, y_weights = _weights(boxes[:, 1], boxes[:, 3], size, feat.shape[1])
    channels_last = np.ascontiguousarray(feat.transpose(1, 2, 0))  # long rows to multiply
    for number, row in enumerate(rows):
        x, y = first_x[number], first_y[number]
        x_weight, y_weight = x_weights[number], y_weights[number]
        crop = channels_last[y : y + y_weight.shape[1], x : x + x_weight.shape[1]]
        # one product per column, too small for BLAS to use threads, which wait for each other
        row_sums = y_weight @ crop.transpose(1, 0, 2)
        out[row] = np.matmul(x_weight, row_sums.transpose(1, 0, 2)).transpose(2, 0, 1)


def _weights(low: Array, high: Array, size: int, cells: int) -> tuple[Array, list[Array]]:
    """The cells of the map that each region reads in one direction, with their weights.

    Returns:
        The first cell (n,) int64, and for each region the weights (size, cells read) float32.
    """
    counts = np.maximum(np.ceil((high - low) / size), 1).astype(np.int64)
    first = np.clip(np.floor(low), 0, cells - 1).astype(np.int64)
    last = np.clip(np.ceil(high), 0, cells - 1).astype(np.int64)
    weights: list[Array] = [np.empty(0)] * len(low)
    for count in np.unique(counts):
        group = np.flatnonzero(counts == count)
        steps = (np.arange(size * count, dtype=np.float32) + np.float32(0.5)) / (size * count)
        points = low[group, None] + (high - low)[group, None] * steps
        inside = (points >= -1) & (points <= cells) & (high > low)[group, None]
        scale = inside / np.float32(count)
        span = int((last - first)[group].max()) + 1
        read = first[group, None] + np.arange(span)
        taps = 1 - np.abs(np.clip(points, 0, cells - 1)[:, :, None] - read[:, None])
        dense = (np.maximum(taps, 0) * scale[:, :, None]).reshape(-1, size, count, span).sum(2)
        for number, region in zip(group, dense.astype(np.float32), strict=True):
            weights[number] = region[:, : last[number] - first[number] + 1]
    return first, weights
