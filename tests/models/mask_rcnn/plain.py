"""Proposals and masks in plain PyTorch, operation by operation as in MMDetection (3.3) on a CPU.

What the host steps are compared with, and in ``scripts/bench host`` their speed too. The one thing
that MMDetection does not do in PyTorch is suppression: it is an operator of mmcv in C++.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from deploy.models.mask_rcnn.anchors import STRIDES, level_anchors
from tests.models.plain import loop_nms

NMS_PRE, MOST, IOU_THR, LARGEST = 1000, 1000, 0.7, 4.135166556742356

plain_nms = partial(loop_nms, iou_thr=IOU_THR)


def plain_proposals(logits, deltas, height, width, nms=plain_nms):
    """Boxes (n, 4) and scores (n,) of five levels of maps."""
    parts = [
        _best(torch.from_numpy(score), torch.from_numpy(move), stride)
        for score, move, stride in zip(logits, deltas, STRIDES, strict=True)
    ]
    scores, moves, anchors = (torch.cat(part) for part in zip(*parts, strict=True))
    counts = torch.tensor([len(part[0]) for part in parts])
    level = torch.arange(len(parts)).repeat_interleave(counts)
    boxes = _decode(anchors, moves, height, width)
    sides = boxes[:, 2:] - boxes[:, :2]
    good = (sides > 0).all(1)
    if not good.all():
        boxes, scores, level = boxes[good], scores[good], level[good]
    apart = boxes + (level.to(boxes) * (boxes.max() + 1))[:, None]
    kept = nms(apart, scores)[:MOST]
    return boxes[kept].numpy(), scores[kept].numpy()


def _best(logits: Tensor, deltas: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    anchors = torch.from_numpy(level_anchors(*logits.shape[2:], stride))
    scores = logits[0].permute(1, 2, 0).reshape(-1).sigmoid()
    moves = deltas[0].permute(1, 2, 0).reshape(-1, 4)
    if len(scores) <= NMS_PRE:
        return scores, moves, anchors
    ranked, order = scores.sort(descending=True)
    best = order[:NMS_PRE]
    return ranked[:NMS_PRE], moves[best], anchors[best]


def _decode(anchors: Tensor, deltas: Tensor, height: int, width: int) -> Tensor:
    centre, sides = (anchors[:, :2] + anchors[:, 2:]) * 0.5, anchors[:, 2:] - anchors[:, :2]
    centre = centre + sides * deltas[:, :2]
    sides = sides * deltas[:, 2:].clamp(-LARGEST, LARGEST).exp()
    boxes = torch.cat((centre - sides * 0.5, centre + sides * 0.5), 1)
    boxes[:, 0::2].clamp_(0, width)
    boxes[:, 1::2].clamp_(0, height)
    return boxes


def plain_paste(stamps, boxes, height, width):
    """Masks (n, height, width) bool, one after the other, each sampled in its own box."""
    stamps, boxes = torch.from_numpy(stamps), torch.from_numpy(boxes)
    masks = torch.zeros(len(stamps), height, width, dtype=torch.bool)
    for one in torch.arange(len(stamps)).split(1):
        box = boxes[one]
        x1, y1 = (int(edge) for edge in (box[0, :2].floor() - 1).clamp(min=0))
        x2 = int((box[0, 2].ceil() + 1).clamp(max=width))
        y2 = int((box[0, 3].ceil() + 1).clamp(max=height))
        x, y = _places(x1, x2, box[:, 0::2]), _places(y1, y2, box[:, 1::2])
        shape = (1, y.shape[1], x.shape[1])
        grid = torch.stack((x[:, None].expand(shape), y[:, :, None].expand(shape)), 3)
        seen = functional.grid_sample(stamps[one, None], grid, align_corners=False)
        masks[one, y1:y2, x1:x2] = seen[:, 0] >= 0.5
    return masks.numpy()


def _places(first: int, last: int, ends: Tensor) -> Tensor:
    """The centres of pixels in the extent of a box, which goes from -1 to 1."""
    centres = torch.arange(first, last).float() + 0.5
    places = (centres - ends[:, :1]) / (ends[:, 1:] - ends[:, :1]) * 2 - 1
    return places.masked_fill(places.isinf(), 0)


def rpn_maps(kind: str, height: int, width: int):
    """Five levels of maps: ``noise``, or ``objects`` around which the boxes agree."""
    rs = np.random.RandomState(0)
    padded = -(-height // 32) * 32, -(-width // 32) * 32
    sizes = [tuple(-(-side // stride) for side in padded) for stride in STRIDES]
    if kind == "noise":
        logits = [rs.normal(-4, 2, (3, *size)) for size in sizes]
        deltas = [rs.normal(0, 0.3, (12, *size)) for size in sizes]
    else:
        logits = [rs.normal(-6, 0.5, (3, *size)) for size in sizes]
        deltas = [rs.normal(0, 0.05, (12, *size)) for size in sizes]
        for _ in range(40):
            centre, side = rs.uniform(0, (width, height)), np.exp(rs.uniform(3, 6))
            for level, stride in enumerate(STRIDES):
                _draw(logits[level], deltas[level], stride, centre, side)
    return [[array[None].astype(np.float32) for array in arrays] for arrays in (logits, deltas)]


def _draw(logits, deltas, stride, centre, side):
    """Let the anchors near the centre of an object have its box."""
    y, x = np.mgrid[: logits.shape[1], : logits.shape[2]] * float(stride)
    near = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (side * side / 8))
    logits += near * 7 * np.exp(-abs(np.log(side / (8 * stride))))
    chosen = near > 0.3
    for number, ratio in enumerate((0.5, 1.0, 2.0)):
        wide, tall = 8 * stride / ratio**0.5, 8 * stride * ratio**0.5
        own = deltas[4 * number : 4 * number + 4, chosen]
        noise = own * 1.0
        own[0] = (centre[0] - x[chosen]) / wide
        own[1] = (centre[1] - y[chosen]) / tall
        own[2], own[3] = np.log(side / wide), np.log(side / tall)
        deltas[4 * number : 4 * number + 4, chosen] = own + noise


def detections(count: int, height: int, width: int):
    """Stamps (n, 28, 28) of blobs and boxes (n, 4) of many sizes; the first box is the picture."""
    rs = np.random.RandomState(0)
    y, x = np.mgrid[:28, :28] / 28 - 0.5
    radius = rs.uniform(0.2, 0.6, (count, 1, 1))
    stamps = 1 / (
        1 + np.exp(12 * (np.hypot(x, y)[None] - radius) + rs.normal(0, 1, (count, 28, 28)))
    )
    centre = rs.uniform(0, (width, height), (count, 2))
    sides = np.exp(rs.uniform(2.5, 6.5, (count, 2)))
    boxes = np.concatenate((centre - sides / 2, centre + sides / 2), axis=1)
    boxes[0] = (0, 0, width, height)
    limits = (width, height, width, height)
    return stamps.astype(np.float32), np.clip(boxes, 0, limits).astype(np.float32)
