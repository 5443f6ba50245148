"""The training objective of the Mask R-CNN demo: the losses of its three heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mask_pooling import pool
from mask_targets import (
    NOBODY,
    Truth,
    assign_anchors,
    assign_regions,
    cropped,
    decode,
    encode,
    overlaps,
    sample,
)
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import cross_entropy

from deploy.models.mask_rcnn.anchors import STRIDES, level_anchors
from deploy.models.mask_rcnn.build import BOX_SIZE, MASK_SIZE, MaskRCNN

_ANCHORS, _REGIONS = (256, 128), (64, 20)  # sampled per picture, and most of them positive
_MASKS = 6  # per picture
_PER_LEVEL, _PROPOSALS, _TWINS = 64, 200, 0.7  # of the RPN, before and after its NMS; the IoU
_STD = torch.tensor([0.1, 0.1, 0.2, 0.2])  # of the box head's deltas
_BOX = 2.0  # weight of the deltas' losses


@dataclass(frozen=True)
class Regions:
    """Regions (n, 5) for the heads, and the digit (n,) of the batch each answers for."""

    rois: Tensor
    digits: Tensor


def mask_losses(model: MaskRCNN, pictures: Tensor, truth: Truth) -> dict[str, Tensor]:
    """The five losses of a batch of pictures (N, 3, H, W), as scalars by name."""
    with torch.autocast("cpu", torch.bfloat16):
        feats = model.extract_feat(pictures)
        logits, deltas = model.rpn(feats)
    anchors = torch.cat(
        [
            torch.from_numpy(level_anchors(*raw.shape[2:], stride))
            for raw, stride in zip(logits, STRIDES, strict=True)
        ]
    )
    sizes = [raw[0].numel() for raw in logits]
    scores, moves = _rows(logits, 1)[..., 0], _rows(deltas, 4)
    losses = _rpn_losses(anchors, scores, moves, truth)
    proposals = _proposals(anchors, scores.detach(), moves.detach(), sizes, pictures.shape[2:])
    regions = [_sampled(found, truth, number) for number, found in enumerate(proposals)]
    losses |= _box_losses(model, feats[:4], _joined(regions), truth)
    positive = _joined([_positive(part, _MASKS) for part in regions])
    masked = _repeated(positive, _MASKS * len(pictures))
    return losses | {"mask": _mask_loss(model, feats[:4], masked, truth)}


def _rows(maps: Sequence[Tensor], values: int) -> Tensor:
    """Maps (N, anchors * values, H, W) to (N, all anchors, values)."""
    return torch.cat(
        [raw.float().permute(0, 2, 3, 1).reshape(len(raw), -1, values) for raw in maps], 1
    )


def _rpn_losses(anchors: Tensor, scores: Tensor, moves: Tensor, truth: Truth) -> dict[str, Tensor]:
    objectness, boxes, count = [], [], 0
    for number, (score, move) in enumerate(zip(scores, moves, strict=True)):
        digits = truth.boxes[truth.picture == number]
        assigned = assign_anchors(anchors, digits)
        chosen = sample(assigned, *_ANCHORS)
        mine = chosen[assigned[chosen] >= 0]
        wanted = (assigned[chosen] >= 0).float()
        objectness.append(bce(score[chosen], wanted, reduction="sum"))
        boxes.append((move[mine] - encode(anchors[mine], digits[assigned[mine]])).abs().sum())
        count += len(chosen)
    return {
        "rpn": torch.stack(objectness).sum() / count,
        "rpn_box": _BOX * torch.stack(boxes).sum() / count,
    }


def _proposals(
    anchors: Tensor, scores: Tensor, moves: Tensor, sizes: Sequence[int], shape: Sequence[int]
) -> list[Tensor]:
    """The best boxes (n, 4) of each picture; a box goes as soon as any better one is its twin."""
    picked, start = [], 0
    for size in sizes:
        best = scores[:, start : start + size].topk(min(_PER_LEVEL, size)).indices
        picked.append(start + best)
        start += size
    chosen = torch.cat(picked, 1)
    order = scores.gather(1, chosen).argsort(1, descending=True)
    chosen = chosen.gather(1, order)
    boxes = decode(anchors[chosen], moves.gather(1, chosen[..., None].expand(-1, -1, 4)))
    height, width = shape
    boxes = torch.minimum(boxes.clamp(min=0), torch.tensor([width, height] * 2).float())
    twins = overlaps(boxes, boxes).triu(1).amax(1) > _TWINS
    kept = ~twins & ((boxes[..., 2:] - boxes[..., :2]) > 1).all(-1)
    return [found[good][:_PROPOSALS] for found, good in zip(boxes, kept, strict=True)]


def _sampled(found: Tensor, truth: Truth, number: int) -> Regions:
    """Proposals of a picture to learn from, and its digits themselves."""
    mine = (truth.picture == number).nonzero()[:, 0]
    boxes = truth.boxes[mine]
    regions = torch.cat((boxes, found))
    assigned = assign_regions(regions, boxes)
    chosen = sample(assigned, *_REGIONS)
    assigned = assigned[chosen]
    first = int(mine[0]) if len(mine) else 0
    rois = torch.cat((torch.full((len(chosen), 1), float(number)), regions[chosen]), 1)
    return Regions(rois, torch.where(assigned >= 0, assigned + first, NOBODY))


def _positive(regions: Regions, most: int) -> Regions:
    """The first that answer for a digit; they are in random order."""
    mine = (regions.digits >= 0).nonzero()[:most, 0]
    return Regions(regions.rois[mine], regions.digits[mine])


def _repeated(regions: Regions, count: int) -> Regions:
    """As many regions as asked, some twice: convolutions are slow on a shape they never had."""
    rows = torch.arange(count if len(regions.rois) else 0) % max(1, len(regions.rois))
    return Regions(regions.rois[rows], regions.digits[rows])


def _joined(parts: Sequence[Regions]) -> Regions:
    return Regions(torch.cat([part.rois for part in parts]), torch.cat([p.digits for p in parts]))


def _box_losses(
    model: MaskRCNN, feats: Sequence[Tensor], regions: Regions, truth: Truth
) -> dict[str, Tensor]:
    pooled = pool(feats, regions.rois, BOX_SIZE)
    with torch.autocast("cpu", torch.bfloat16):
        scores, moves = model.bbox_head_forward(pooled)
    mine = (regions.digits >= 0).nonzero()[:, 0]
    digits = regions.digits[mine]
    labels = torch.full((len(regions.digits),), model.num_classes)
    labels[mine] = truth.labels[digits]
    wanted = encode(regions.rois[mine, 1:], truth.boxes[digits]) / _STD
    moved = moves.float().reshape(len(moves), -1, 4)[mine, truth.labels[digits]]
    return {
        "class": cross_entropy(scores.float(), labels),
        "box": _BOX * (moved - wanted).abs().sum() / len(labels),
    }


def _mask_loss(model: MaskRCNN, feats: Sequence[Tensor], regions: Regions, truth: Truth) -> Tensor:
    if not len(regions.rois):
        return torch.zeros(())
    pooled = pool(feats, regions.rois, MASK_SIZE)
    with torch.autocast("cpu", torch.bfloat16):
        masks = model.mask_head(pooled).float()
    seen = masks[torch.arange(len(masks)), truth.labels[regions.digits]]
    return bce(seen, cropped(truth, regions.digits, regions.rois[:, 1:], seen.shape[-1]))
