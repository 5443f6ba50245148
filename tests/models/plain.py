"""What MMDetection has in C++ (mmcv), in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def loop_nms(boxes: Tensor, scores: Tensor, iou_thr: float) -> Tensor:
    """Indices of the boxes that stay, best first: one box after the other with all below it."""
    pending = scores.argsort(descending=True, stable=True)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept = []
    while len(pending):
        best, pending = pending[0], pending[1:]
        kept.append(best)
        low = torch.maximum(boxes[best, :2], boxes[pending, :2])
        high = torch.minimum(boxes[best, 2:], boxes[pending, 2:])
        sides = (high - low).clamp(min=0)
        shared = sides[:, 0] * sides[:, 1]
        pending = pending[shared / (areas[best] + areas[pending] - shared) <= iou_thr]
    return torch.stack(kept)
