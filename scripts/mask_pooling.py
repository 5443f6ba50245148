"""RoIAlign for training: all regions of a batch at once, with a fixed number of samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]
from torch import Tensor

from deploy.models.mask_rcnn.anchors import STRIDES
from deploy.models.mask_rcnn.roi_align_torch import assign_levels

_SAMPLES = 2  # per cell and direction


def pool(feats: Sequence[Tensor], rois: Tensor, size: int) -> Tensor:
    """``MaskRCNN.roi_feats(feats, rois, size, samples=2)``, several times as fast to train with.

    The maps become one table with a row for each of their cells, and the pooling one product of a
    sparse matrix with it.

    Args:
        feats: the four finest maps (N, C, H, W).
        rois: (n, 5) of index of the picture, x1, y1, x2, y2 in input pixels.
        size: cells of a side.

    Returns:
        (n, C, size, size)
    """
    table = torch.cat([feat.float().permute(0, 2, 3, 1).flatten(0, 2) for feat in feats])
    levels = assign_levels(rois, len(feats))
    heights, widths = (
        torch.tensor([feat.shape[axis] for feat in feats])[levels] for axis in (2, 3)
    )
    counts = torch.tensor([0] + [feat[:, 0].numel() for feat in feats])
    first = counts.cumsum(0)[levels] + rois[:, 0].long() * heights * widths
    boxes = rois[:, 1:] / torch.tensor(STRIDES)[levels][:, None] - 0.5
    x, x_share = _taps(boxes[:, 0], boxes[:, 2], size, widths)
    y, y_share = _taps(boxes[:, 1], boxes[:, 3], size, heights)
    row = first[:, None, None, None, None] + (
        y[:, :, None, :, None] * widths[:, None, None, None, None] + x[:, None, :, None, :]
    )
    share = y_share[:, :, None, :, None] * x_share[:, None, :, None, :]
    taps = row.shape[3] * row.shape[4]
    pooled = _SparseProduct.apply(row.reshape(-1, taps), share.reshape(-1, taps), table)
    return pooled.reshape(-1, size, size, table.shape[1]).permute(0, 3, 1, 2)


class _SparseProduct(torch.autograd.Function):
    """Weighted sums (n, C) of rows of a table (r, C), for indices and weights (n, taps)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weights: Tensor, table: Tensor) -> Tensor:
        starts = np.arange(len(rows) + 1) * rows.shape[1]
        parts = (weights.flatten().numpy(), rows.flatten().numpy(), starts)
        ctx.matrix = csr_matrix(parts, shape=(len(rows), len(table)))
        return torch.from_numpy(ctx.matrix @ table.detach().numpy())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:  # type: ignore[override]
        return None, None, torch.from_numpy(ctx.matrix.T @ gradient.contiguous().numpy())


def _taps(low: Tensor, high: Tensor, size: int, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Which cells of a direction to read, and their shares; both (n, size, 2 * samples)."""
    steps = (torch.arange(size * _SAMPLES) + 0.5) / (size * _SAMPLES)
    at = low[:, None] + (high - low)[:, None] * steps
    last = cells[:, None] - 1
    inside = (at >= -1) & (at <= cells[:, None])
    at = torch.minimum(at.clamp(min=0), last)
    before = at.floor()
    after = torch.minimum(before + 1, last)
    share = torch.stack((1 - at + before, at - before), 2) * inside[:, :, None] / _SAMPLES
    taps = torch.stack((before, after), 2).long()
    shape = (-1, size, 2 * _SAMPLES)
    return taps.reshape(shape), share.reshape(shape)
