"""RoIAlign in PyTorch, as mmcv's operator does it with ``aligned=True``; differentiable."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from deploy.models.mask_rcnn.anchors import FINEST_SCALE, STRIDES
from deploy.models.mask_rcnn.hosted import exporting


def levels_of(rois: Tensor, count: int) -> Tensor:
    """The level (n,) int64 of each region (n, 5), by its size; 0 is the finest of ``count``."""
    sides = rois[:, 3:5] - rois[:, 1:3]
    size = (sides[:, 0] * sides[:, 1]).sqrt() / FINEST_SCALE + 1e-6
    levels = torch.zeros_like(size, dtype=torch.int64)
    for level in range(1, count):
        levels = levels + (size >= 2**level)
    return levels


def multi_level(feats: Sequence[Tensor], rois: Tensor, size: int, samples: int = 0) -> Tensor:
    """Look at each region on its own level.

    Args:
        feats: (N, C, H, W) per level, finest first.
        rois: (n, 5) of index of the picture, x1, y1, x2, y2 in input pixels.
        size: cells of a side of the result.
        samples: points per cell and direction; 0 takes one for each cell of the map.

    Returns:
        (n, C, size, size)
    """
    levels = levels_of(rois, len(feats))
    if exporting():
        return _operators(feats, rois, size, samples, levels)
    parts, order = [], []
    for level, (feat, stride) in enumerate(zip(feats, STRIDES, strict=False)):
        chosen = (levels == level).nonzero()[:, 0]
        parts.append(roi_align(feat, rois[chosen], size, 1 / stride, samples))
        order.append(chosen)
    return torch.cat(parts)[torch.cat(order).argsort()]


def roi_align(feat: Tensor, rois: Tensor, size: int, scale: float, samples: int = 0) -> Tensor:
    """Average bilinear samples in each of ``size`` x ``size`` cells of each region.

    Args:
        feat: (N, C, H, W).
        rois: (n, 5) of index of the picture, x1, y1, x2, y2 in input pixels.
        size: cells of a side of the result.
        scale: cells of the map per input pixel.
        samples: points per cell and direction; 0 takes one for each cell of the map.

    Returns:
        (n, C, size, size)
    """
    boxes = rois[:, 1:] * scale - 0.5
    grid = ((boxes[:, 2:] - boxes[:, :2]) / size).ceil().clamp(min=1).long()
    if samples:
        grid = torch.full_like(grid, samples)
    alike = torch.cat((rois[:, :1].long(), grid), 1)
    kinds, kind = torch.unique(alike, dim=0, return_inverse=True)
    parts, order = [feat.new_zeros(0, feat.shape[1], size, size)], []
    for number, (picture, across, down) in enumerate(kinds.tolist()):
        chosen = (kind == number).nonzero()[:, 0]
        parts.append(_sampled(feat[picture], boxes[chosen], size, across, down))
        order.append(chosen)
    return torch.cat(parts)[torch.cat(order).argsort()] if order else parts[0]


def _sampled(feat: Tensor, boxes: Tensor, size: int, across: int, down: int) -> Tensor:
    """Regions that take equally many samples, of one map (C, H, W)."""
    height, width = feat.shape[1:]
    x, x_inside = _points(boxes[:, 0], boxes[:, 2], size * across, width)
    y, y_inside = _points(boxes[:, 1], boxes[:, 3], size * down, height)
    xy = torch.stack(
        (x[:, None].expand(-1, y.shape[1], -1), y[:, :, None].expand(-1, -1, x.shape[1])), 3
    )
    taken = functional.grid_sample(
        feat[None], xy.flatten(0, 1)[None], padding_mode="border", align_corners=False
    )
    cells = taken.reshape(len(feat), len(boxes), size, down, size, across)
    inside = y_inside.reshape(-1, size, down, 1, 1) & x_inside.reshape(-1, 1, 1, size, across)
    return (cells * inside).mean((3, 5)).transpose(0, 1)


def _points(low: Tensor, high: Tensor, count: int, cells: int) -> tuple[Tensor, Tensor]:
    """Coordinates (n, count) from -1 to 1 for ``grid_sample``, and which of them lie inside."""
    steps = (torch.arange(count, device=low.device) + 0.5) / count
    at = low[:, None] + (high - low)[:, None] * steps
    inside = (at >= -1) & (at <= cells) & (high > low)[:, None]
    return (2 * at + 1) / cells - 1, inside


def _operators(
    feats: Sequence[Tensor], rois: Tensor, size: int, samples: int, levels: Tensor
) -> Tensor:
    """ONNX's RoIAlign for each level, on as many regions each, so that only one size varies.

    A region of another level has no area there, and costs next to nothing. What comes of it is not
    looked at, for there engines may divide nothing by nothing.
    """
    some = (rois[:, 3] > rois[:, 1]) & (rois[:, 4] > rois[:, 2])
    pooled: Tensor | float = 0.0
    for level, (feat, stride) in enumerate(zip(feats, STRIDES, strict=False)):
        here = (levels == level) & some
        boxes = torch.where(here[:, None], rois[:, 1:], 0.0)
        part = _operator(feat, boxes, rois[:, 0].long(), size, 1 / stride, samples)
        pooled = torch.where(here[:, None, None, None], part, pooled)
    assert isinstance(pooled, Tensor), "there is a level"
    return pooled


def _operator(
    feat: Tensor, boxes: Tensor, pictures: Tensor, size: int, scale: float, samples: int
) -> Tensor:
    return torch.onnx.ops.symbolic(
        "RoiAlign",
        (feat, boxes, pictures),
        attrs={
            "coordinate_transformation_mode": "half_pixel",
            "mode": "avg",
            "output_height": size,
            "output_width": size,
            "sampling_ratio": samples,
            "spatial_scale": scale,
        },
        dtype=feat.dtype,
        shape=(boxes.shape[0], feat.shape[1], size, size),
        version=16,
    )
