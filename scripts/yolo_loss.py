"""The training objective of the demo: which anchors answer for which digit, and how well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from deploy.models.yolov3.anchors import STRIDES, Sizes

_SHAPE_IOU = 0.35  # an anchor answers for a digit from this overlap of their shapes on
_IGNORE_IOU = 0.6  # a prediction this close to a digit is not punished for being there
_BOX, _OBJECTNESS, _CLASS = 3.0, 1.0, 1.0  # weights of the three terms


@dataclass(frozen=True)
class Truth:
    """All digits of a batch: picture index (n,), boxes (n, 4) in pixels, labels (n,)."""

    picture: Tensor
    boxes: Tensor
    labels: Tensor


def yolo_loss(maps: Sequence[Tensor], truth: Truth, anchors: Sizes, classes: int) -> Tensor:
    """The loss of raw head maps (N, 3 * (5 + classes), H, W), per picture, as a scalar."""
    matched = _matches(truth.boxes, anchors)
    losses = [
        _level_loss(raw, truth, matched[level], anchors[level], STRIDES[level], classes)
        for level, raw in enumerate(maps)
    ]
    return torch.stack(losses).sum() / maps[0].shape[0]


def _matches(boxes: Tensor, anchors: Sizes) -> Tensor:
    """Which anchors (levels, anchors, n) answer for each box: the best, and all that are close."""
    sizes = torch.tensor(anchors, dtype=torch.float32)[:, :, None]
    wh = boxes[:, 2:] - boxes[:, :2]
    shared = torch.minimum(sizes, wh).prod(-1)
    iou = shared / (sizes.prod(-1) + wh.prod(-1) - shared)
    best: Tensor = iou == iou.amax((0, 1))
    return best | (iou > _SHAPE_IOU)


def _level_loss(
    raw: Tensor,
    truth: Truth,
    matched: Tensor,
    sizes: Sequence[tuple[int, int]],
    stride: int,
    classes: int,
) -> Tensor:
    batch, _, height, width = raw.shape
    rows = raw.reshape(batch, len(sizes), 5 + classes, height, width).permute(0, 1, 3, 4, 2)
    half = torch.tensor(sizes, dtype=torch.float32) / 2
    anchor, digit = matched.nonzero(as_tuple=True)
    centre = (truth.boxes[digit, :2] + truth.boxes[digit, 2:]) / 2
    cell = (centre / stride).long()
    x, y = cell[:, 0].clamp(max=width - 1), cell[:, 1].clamp(max=height - 1)
    picture = truth.picture[digit]
    found = rows[picture, anchor, y, x]
    boxes = _decode(found, torch.stack((x, y), 1), half[anchor], stride)
    iou = _giou(boxes, truth.boxes[digit])
    wanted = torch.zeros(rows.shape[:-1])
    weight = _not_ignored(rows.detach(), truth, half, stride)
    wanted[picture, anchor, y, x] = iou.detach().clamp(0, 1)
    weight[picture, anchor, y, x] = 1.0
    objectness = bce(rows[..., 4], wanted, weight, reduction="sum")
    target = torch.nn.functional.one_hot(truth.labels[digit], classes).float()
    label = bce(found[:, 5:], target, reduction="sum")
    return _BOX * (1 - iou).sum() + _OBJECTNESS * objectness + _CLASS * label


def _decode(found: Tensor, cell: Tensor, half: Tensor, stride: int) -> Tensor:
    """Raw rows (..., 5 + classes) at their cells to boxes (..., 4), as inference decodes them."""
    centre = (found[..., 0:2].sigmoid() + cell) * stride
    wh = found[..., 2:4].clamp(max=6).exp() * half
    return torch.cat((centre - wh, centre + wh), -1)


def _not_ignored(rows: Tensor, truth: Truth, half: Tensor, stride: int) -> Tensor:
    """1 for every prediction but those that lie on a digit without answering for it."""
    batch, _, height, width, _ = rows.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    boxes = _decode(rows, torch.stack((x, y), -1), half[:, None, None], stride)
    weight = torch.ones(rows.shape[:-1])
    for picture in range(batch):
        digits = truth.boxes[truth.picture == picture]
        if len(digits):
            near = _iou(boxes[picture].reshape(-1, 1, 4), digits[None]).amax(1) > _IGNORE_IOU
            weight[picture][near.reshape(weight.shape[1:])] = 0.0
    return weight


def _iou(one: Tensor, other: Tensor) -> Tensor:
    shared, union = _areas(one, other)
    return shared / union


def _giou(one: Tensor, other: Tensor) -> Tensor:
    shared, union = _areas(one, other)
    low, high = torch.minimum(one, other)[..., :2], torch.maximum(one, other)[..., 2:]
    hull = (high - low).prod(-1).clamp(min=1e-6)
    return shared / union - (hull - union) / hull


def _areas(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    low, high = torch.maximum(one, other)[..., :2], torch.minimum(one, other)[..., 2:]
    shared = (high - low).clamp(min=0).prod(-1)
    union = sum((box[..., 2:] - box[..., :2]).prod(-1) for box in (one, other)) - shared
    return shared, union.clamp(min=1e-6)
