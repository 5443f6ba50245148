"""YOLOv3's post-processing in plain PyTorch, in the order in which MMDetection (3.3) does it.

What ``scripts/bench picture`` measures the host step against, and what its results are compared
with. The one thing that MMDetection does not do in PyTorch is suppression: it is an operator of
mmcv in C++.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from deploy.models.yolov3.anchors import ANCHORS, STRIDES
from deploy.models.yolov3.decoding import Thresholds
from tests.models.plain import loop_nms

Nms = Callable[[Tensor, Tensor, float], Tensor]


def plain_detections(
    maps: Sequence[np.ndarray], backbone: str, classes: int, limits: Thresholds, nms: Nms = loop_nms
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (n, 4), scores (n,) and labels (n,) of the maps (1, channels, H, W) of one picture."""
    attributes = 5 + classes
    flat, anchors, strides = [], [], []
    for raw, sizes, stride in zip(maps, ANCHORS[backbone], STRIDES, strict=True):
        level = torch.from_numpy(raw).permute(0, 2, 3, 1).reshape(-1, attributes)
        level[:, :2].sigmoid_()
        flat.append(level)
        anchors.append(_anchors(sizes, *raw.shape[2:], stride))
        strides.append(torch.full((len(level), 1), float(stride)))
    rows = torch.cat(flat)
    objectness, scores = rows[:, 4].sigmoid(), rows[:, 5:].sigmoid()
    boxes = _decode(torch.cat(anchors), rows[:, :4], torch.cat(strides))
    likely = (objectness >= limits.conf_thr).nonzero().squeeze(1)
    boxes, scores, objectness = boxes[likely], scores[likely], objectness[likely]
    found = scores > limits.score_thr
    places, values = found.nonzero(), scores[found]
    values, order = values.sort(descending=True, stable=True)
    values, order = values[: limits.nms_pre], order[: limits.nms_pre]
    kept, labels = places[order].unbind(1)
    boxes, values = boxes[kept], values * objectness[kept]
    good = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)
    if not good.all():
        boxes, values, labels = boxes[good], values[good], labels[good]
    if not len(boxes):
        return boxes.numpy(), values.numpy(), labels.numpy()
    apart = boxes + (labels.to(boxes) * (boxes.max() + 1))[:, None]
    stay = nms(apart, values, limits.iou_thr)[: limits.max_per_img]
    return boxes[stay].numpy(), values[stay].numpy(), labels[stay].numpy()


def _anchors(sizes, height: int, width: int, stride: int) -> Tensor:
    half = torch.tensor(sizes, dtype=torch.float32) / 2
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centre = (torch.stack((x, y), 2).float() + 0.5) * stride
    centre = centre.reshape(-1, 1, 2)
    return torch.cat((centre - half, centre + half), 2).reshape(-1, 4)


def _decode(anchors: Tensor, moves: Tensor, stride: Tensor) -> Tensor:
    centre = (anchors[:, :2] + anchors[:, 2:]) * 0.5 + (moves[:, :2] - 0.5) * stride
    half = (anchors[:, 2:] - anchors[:, :2]) * 0.5 * moves[:, 2:].exp()
    return torch.cat((centre - half, centre + half), 1)


def crowded_maps(candidates: int, side: int = 608, classes: int = 80) -> list[np.ndarray]:
    """Maps with exactly so many (anchor, class) pairs beyond the thresholds, about 20 objects.

    Anchors near an object have nearly its box, so that suppression has something to do.
    """
    rs = np.random.RandomState(candidates)
    maps = [
        rs.normal(-9, 0.7, (1, 3, 5 + classes, side // stride, side // stride)).astype(np.float32)
        for stride in STRIDES
    ]
    objects = rs.uniform(0.1, 0.9, (20, 2)), rs.randint(0, classes, 20)
    taken: set[tuple[int, ...]] = set()
    while len(taken) < candidates:
        chosen = rs.randint(20)
        level, anchor = rs.choice(3, p=(0.2, 0.3, 0.5)), rs.randint(3)
        grid = maps[level].shape[3]
        x, y = ((objects[0][chosen] + rs.normal(0, 0.04, 2)) * grid).astype(int).clip(0, grid - 1)
        label = (objects[1][chosen] + (rs.rand() < 0.1)) % classes
        if (level, anchor, y, x) in taken:
            continue
        taken.add((level, anchor, y, x))
        cell = maps[level][0, anchor, :, y, x]
        cell[:4] = rs.normal(0, 0.5, 4)
        cell[4], cell[5 + label] = rs.normal(1, 1), rs.normal(2, 1)
    return [one.reshape(1, -1, *one.shape[3:]) for one in maps]
