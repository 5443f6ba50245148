"""RetinaNet's post-processing as MMDetection 3.3 does it, in NumPy: ``retinanet_post:decode``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log
from typing import Annotated, Any

import numpy as np

from backends.bounds import Between
from deploy.runtime import Detections
from deploy.runtime.vision.image import Placement
from deploy.runtime.vision.nms import nms

Array = np.ndarray[Any, np.dtype[Any]]

MAX_LOG_SCALE = abs(log(16 / 1000))  # DeltaXYWHBBoxCoder's wh_ratio_clip
STRIDES = (8, 16, 32, 64, 128)
RATIOS = (0.5, 1.0, 2.0)
OCTAVE_BASE_SCALE = 4
SCALES_PER_OCTAVE = 3


@dataclass(frozen=True)
class InPicture(Detections):
    """Detections whose boxes end at the borders of the picture."""

    def placed(self, placement: Placement) -> Detections:
        """In pixels of the picture."""
        found = super().placed(placement)
        limits = np.array((placement.width, placement.height) * 2, np.float32)
        return replace(found, boxes=np.clip(found.boxes, 0, limits))


def decode(
    *maps: Array,
    score_thr: float = 0.05,
    nms_pre: Annotated[int, Between(1, 100_000)] = 1000,
    iou_thr: float = 0.5,
    max_per_img: Annotated[int, Between(1, 10_000)] = 100,
) -> InPicture:
    """The detections of one picture.

    Args:
        maps: what ``RetinaHead`` gives, without the axis of the batch: class logits
            (9 * classes, H, W) of each level, finest first, then deltas (9 * 4, H, W) of each.
        score_thr: as in ``test_cfg``, which has these four.
        nms_pre: candidates of each level.
        iou_thr: of NMS.
        max_per_img: detections of a picture.
    """
    levels = len(STRIDES)
    if len(maps) != 2 * levels:
        raise ValueError(f"expected {2 * levels} maps, got {len(maps)}")
    pairs = zip(maps[:levels], maps[levels:], STRIDES, strict=True)
    candidates = [level_candidates(*pair, score_thr, nms_pre) for pair in pairs]
    priors, deltas, scores, labels = (
        np.concatenate(parts) for parts in zip(*candidates, strict=True)
    )
    height, width = (side * STRIDES[0] for side in maps[0].shape[1:])
    boxes = boxes_of(priors, deltas, height, width)
    solid = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    found = InPicture(boxes[solid], scores[solid], labels[solid]).finite()
    return found.take(nms(found.boxes, found.scores, found.labels, iou_thr, max_per_img))


def level_candidates(
    logits: Array, deltas: Array, stride: int, score_thr: float, nms_pre: int
) -> tuple[Array, Array, Array, Array]:
    """Anchor, deltas, score and label of the best pairs of an anchor and a class of a level."""
    priors = anchors(*logits.shape[1:], stride)
    per_cell = len(RATIOS) * SCALES_PER_OCTAVE
    classes = len(logits) // per_cell
    with np.errstate(over="ignore"):
        scores = 1 / (1 + np.exp(-logits.transpose(1, 2, 0).reshape(-1, classes)))
    anchor, label = np.nonzero(scores > score_thr)
    passing = scores[anchor, label]
    best = np.argsort(-passing, kind="stable")[:nms_pre]
    rows = deltas.transpose(1, 2, 0).reshape(-1, 4)
    return priors[anchor[best]], rows[anchor[best]], passing[best], label[best]


def anchors(height: int, width: int, stride: int) -> Array:
    """All anchors (H * W * 9, 4) of a level, by row, column, ratio and scale."""
    roots = np.sqrt(np.array(RATIOS, np.float32))[:, None]
    scales = np.float32(2) ** (np.arange(SCALES_PER_OCTAVE) / SCALES_PER_OCTAVE)
    scales = (scales * OCTAVE_BASE_SCALE * stride).astype(np.float32)
    half = np.stack((scales / roots, scales * roots), axis=-1).reshape(-1, 2) / 2
    y, x = np.mgrid[:height, :width].astype(np.float32) * stride
    corners = np.stack((x, y, x, y), axis=-1)[:, :, None]
    return (corners + np.concatenate((-half, half), axis=1)).reshape(-1, 4)


def boxes_of(priors: Array, deltas: Array, height: int, width: int) -> Array:
    """Boxes (n, 4) x1, y1, x2, y2 in pixels of the tensor, clipped to it."""
    sides = priors[:, 2:] - priors[:, :2]
    centre = (priors[:, :2] + priors[:, 2:]) / 2 + sides * deltas[:, :2]
    half = sides * np.exp(np.clip(deltas[:, 2:], -MAX_LOG_SCALE, MAX_LOG_SCALE)) / 2
    limits = np.array((width, height, width, height), np.float32)
    return np.clip(np.concatenate((centre - half, centre + half), axis=1), 0, limits)
