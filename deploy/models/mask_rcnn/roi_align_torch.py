"""RoIAlign in PyTorch, differentiable; equal to mmcv's operator with ``aligned=True``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from deploy.models.mask_rcnn.anchors import FINEST_SCALE, STRIDES
from deploy.models.mask_rcnn.host_step_node import is_exporting


def assign_levels(rois: Tensor, count: int) -> Tensor:
    """The level (n,) int64 of each region (n, 5), by its size; 0 is the finest of ``count``."""
    sides = rois[:, 3:5] - rois[:, 1:3]
    size = (sides[:, 0] * sides[:, 1]).sqrt() / FINEST_SCALE + 1e-6
    levels = torch.zeros_like(size, dtype=torch.int64)
    for level in range(1, count):
        levels = levels + (size >= 2**level)
    return levels


def multi_level_roi_align(
    feats: Sequence[Tensor], rois: Tensor, size: int, samples: int = 0
) -> Tensor:
    """Pool each region from the level of its size.

    Args:
        feats: (N, C, H, W) per level, finest first.
        rois: (n, 5) of index of the picture, x1, y1, x2, y2 in input pixels.
        size: cells of a side of the result.
        samples: sampling points per cell and direction; 0 takes one per cell of the map.

    Returns:
        (n, C, size, size)
    """
    levels = assign_levels(rois, len(feats))
    if is_exporting():
        return _onnx_operators(feats, rois, size, samples, levels)
    pooled, order = [], []
    for level, (feat, stride) in enumerate(zip(feats, STRIDES, strict=False)):
        indices = (levels == level).nonzero()[:, 0]
        pooled.append(roi_align(feat, rois[indices], size, 1 / stride, samples))
        order.append(indices)
    return torch.cat(pooled)[torch.cat(order).argsort()]


def roi_align(feat: Tensor, rois: Tensor, size: int, scale: float, samples: int = 0) -> Tensor:
    """Average bilinear samples in each of ``size`` x ``size`` cells of each region.

    Args:
        feat: (N, C, H, W).
        rois: (n, 5) of index of the picture, x1, y1, x2, y2 in input pixels.
        size: cells of a side of the result.
        scale: cells of the map per input pixel.
        samples: sampling points per cell and direction; 0 takes one per cell of the map.

    Returns:
        (n, C, size, size)
    """
    boxes = rois[:, 1:] * scale - 0.5
    grid = ((boxes[:, 2:] - boxes[:, :2]) / size).ceil().clamp(min=1).long()
    if samples:
        grid = torch.full_like(grid, samples)
    # regions of one picture and one sampling grid are pooled together
    picture_and_grid = torch.cat((rois[:, :1].long(), grid), 1)
    groups, group = torch.unique(picture_and_grid, dim=0, return_inverse=True)
    pooled, order = [feat.new_zeros(0, feat.shape[1], size, size)], []
    for number, (picture, x_samples, y_samples) in enumerate(groups.tolist()):
        indices = (group == number).nonzero()[:, 0]
        pooled.append(_pool(feat[picture], boxes[indices], size, x_samples, y_samples))
        order.append(indices)
    return torch.cat(pooled)[torch.cat(order).argsort()] if order else pooled[0]


def _pool(feat: Tensor, boxes: Tensor, size: int, x_samples: int, y_samples: int) -> Tensor:
    """RoIAlign of regions with one number of samples, from one map (C, H, W)."""
    height, width = feat.shape[1:]
    x, x_inside = _sampling_points(boxes[:, 0], boxes[:, 2], size * x_samples, width)
    y, y_inside = _sampling_points(boxes[:, 1], boxes[:, 3], size * y_samples, height)
    xy = torch.stack(
        (x[:, None].expand(-1, y.shape[1], -1), y[:, :, None].expand(-1, -1, x.shape[1])), 3
    )
    sampled = functional.grid_sample(
        feat[None], xy.flatten(0, 1)[None], padding_mode="border", align_corners=False
    )
    cells = sampled.reshape(len(feat), len(boxes), size, y_samples, size, x_samples)
    y_inside = y_inside.reshape(-1, size, y_samples, 1, 1)
    inside = y_inside & x_inside.reshape(-1, 1, 1, size, x_samples)
    return (cells * inside).mean((3, 5)).transpose(0, 1)


def _sampling_points(low: Tensor, high: Tensor, count: int, cells: int) -> tuple[Tensor, Tensor]:
    """Coordinates (n, count) from -1 to 1 for ``grid_sample``, and which of them lie inside."""
    steps = (torch.arange(count, device=low.device) + 0.5) / count
    points = low[:, None] + (high - low)[:, None] * steps
    inside = (points >= -1) & (points <= cells) & (high > low)[:, None]
    return (2 * points + 1) / cells - 1, inside


def _onnx_operators(
    feats: Sequence[Tensor], rois: Tensor, size: int, samples: int, levels: Tensor
) -> Tensor:
    """ONNX's RoIAlign on each level for all regions, so that only one size is dynamic.

    Regions of another level are given as empty boxes, which cost next to nothing. Their result is
    discarded: engines may compute 0 / 0 for them.
    """
    has_area = (rois[:, 3] > rois[:, 1]) & (rois[:, 4] > rois[:, 2])
    pooled: Tensor | float = 0.0
    for level, (feat, stride) in enumerate(zip(feats, STRIDES, strict=False)):
        on_level = (levels == level) & has_area
        boxes = torch.where(on_level[:, None], rois[:, 1:], 0.0)
        level_pooled = _onnx_operator(feat, boxes, rois[:, 0].long(), size, 1 / stride, samples)
        pooled = torch.where(on_level[:, None, None, None], level_pooled, pooled)
    assert isinstance(pooled, Tensor), "there is a level"
    return pooled


def _onnx_operator(
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
