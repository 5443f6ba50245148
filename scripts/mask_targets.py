"""What the heads of a Mask R-CNN are trained on: which region answers for which digit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NOBODY, IGNORED = -1, -2
_FAR, _CLOSE = 0.3, 0.7  # an anchor's overlap with a digit, below and from which it is clear
_NEARLY = 0.95, 0.6  # the same, as shares of the best overlap any anchor has with that digit


@dataclass(frozen=True)
class Truth:
    """All digits of a batch, those of a picture together.

    Attributes:
        picture: (n,) index of the picture.
        boxes: (n, 4) in pixels.
        labels: (n,).
        marks: (n,) the value of each digit's pixels in ``ink``.
        ink: (N, H, W) uint8.
    """

    picture: Tensor
    boxes: Tensor
    labels: Tensor
    marks: Tensor
    ink: Tensor


def overlaps(ones: Tensor, others: Tensor) -> Tensor:
    """The IoU (..., n, m) of boxes (..., n, 4) and (..., m, 4)."""
    one, other = ones.unsqueeze(-2), others.unsqueeze(-3)
    low, high = torch.maximum(one, other)[..., :2], torch.minimum(one, other)[..., 2:]
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (one, other)]
    return shared / (areas[0] + areas[1] - shared).clamp(min=1e-6)


def encode(sources: Tensor, targets: Tensor) -> Tensor:
    """The deltas (n, 4) that move boxes (n, 4) onto others."""
    centre, size = (sources[:, :2] + sources[:, 2:]) / 2, sources[:, 2:] - sources[:, :2]
    wanted, wanted_size = (targets[:, :2] + targets[:, 2:]) / 2, targets[:, 2:] - targets[:, :2]
    return torch.cat(((wanted - centre) / size, (wanted_size / size).log()), 1)


def decode(sources: Tensor, deltas: Tensor) -> Tensor:
    """The boxes (..., 4) that deltas (..., 4) make of others."""
    size = sources[..., 2:] - sources[..., :2]
    centre = (sources[..., :2] + sources[..., 2:]) / 2 + deltas[..., :2] * size
    half = size * deltas[..., 2:].clamp(-4, 4).exp() / 2
    return torch.cat((centre - half, centre + half), -1)


def assign_anchors(anchors: Tensor, boxes: Tensor) -> Tensor:
    """The digit (n,) each anchor answers for, or ``NOBODY``, or ``IGNORED``.

    MMDetection's thresholds, but every digit has anchors: many are far smaller than any anchor.
    """
    if not len(boxes):
        return torch.full((len(anchors),), NOBODY)
    iou = overlaps(anchors, boxes)
    best = iou.amax(0)
    close = iou >= (best * _NEARLY[0]).clamp(max=_CLOSE)
    far = (iou < (best * _NEARLY[1]).clamp(max=_FAR)).all(1)
    nearest = (iou * close).argmax(1)
    neither = torch.where(far, NOBODY, IGNORED)
    return torch.where(close.any(1), nearest, neither)


def assign_regions(regions: Tensor, boxes: Tensor) -> Tensor:
    """The digit (n,) each region shares at least half with, or ``NOBODY``."""
    if not len(boxes):
        return torch.full((len(regions),), NOBODY)
    iou, nearest = overlaps(regions, boxes).max(1)
    return torch.where(iou >= 0.5, nearest, NOBODY)


def sample(assigned: Tensor, count: int, positive: int) -> Tensor:
    """Indices of at most ``count`` random rows, at most ``positive`` of them somebody's."""
    some = _drawn(assigned >= 0, positive)
    return torch.cat((some, _drawn(assigned == NOBODY, count - len(some))))


def _drawn(which: Tensor, count: int) -> Tensor:
    rows = which.nonzero()[:, 0]
    return rows[torch.randperm(len(rows))[:count]]


def cropped(truth: Truth, digits: Tensor, regions: Tensor, size: int) -> Tensor:
    """The masks (n, size, size) from 0 to 1 of digits (n,), seen in regions (n, 4)."""
    height, width = truth.ink.shape[1:]
    steps = (torch.arange(2 * size) + 0.5) / (2 * size)
    x, y = (
        (low[:, None] + (high - low)[:, None] * steps).floor().long().clamp(0, limit - 1)
        for low, high, limit in (
            (regions[:, 0], regions[:, 2], width),
            (regions[:, 1], regions[:, 3], height),
        )
    )
    seen = truth.ink[truth.picture[digits][:, None, None], y[:, :, None], x[:, None]]
    mine = (seen == truth.marks[digits][:, None, None]).float()
    return (torch.nn.functional.avg_pool2d(mine, 2) >= 0.5).float()
