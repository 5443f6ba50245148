"""Which pairs of an anchor and a class are detections, with MMDetection's semantics (3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backends.contract import Array
from deploy.runtime.vision.detections import Detections
from deploy.runtime.vision.nms import nms


@dataclass(frozen=True)
class Limits:
    """The thresholds of MMDetection's ``test_cfg``.

    Attributes:
        score_thr: a class score counts above it, whatever the objectness.
        conf_thr: the least objectness of an anchor.
        nms_pre: how many (anchor, class) pairs of the best class scores go on.
        iou_thr: overlap from which the lesser box of a class goes.
        max_per_img: how many boxes stay.
    """

    score_thr: float = 0.05
    conf_thr: float = 0.005
    nms_pre: int = 1000
    iou_thr: float = 0.45
    max_per_img: int = 100


def select(
    boxes: Array, scores: Array, labels: Array, objectness: Array, limits: Limits
) -> Detections:
    """The last steps for (anchor, class) pairs: thresholds, the best ``nms_pre``, NMS.

    Boxes without area are dropped, and those whose box or score is not finite.

    Args:
        boxes: (n, 4) in input pixels.
        scores: (n,) class scores after the sigmoid.
        labels: (n,).
        objectness: (n,) after the sigmoid.
        limits: the thresholds.
    """
    good = (objectness >= limits.conf_thr) & (scores > limits.score_thr)
    best = np.flatnonzero(good)
    best = best[np.argsort(-scores[best], kind="stable")[: limits.nms_pre]]
    best = best[(boxes[best, 2:] > boxes[best, :2]).all(axis=1)]
    with np.errstate(over="ignore", invalid="ignore"):  # boxes may be far beyond any picture
        found = Detections(
            boxes[best].astype(np.float32),
            (scores[best] * objectness[best]).astype(np.float32),
            labels[best].astype(np.int64),
        ).finite()
        kept = nms(found.boxes, found.scores, found.labels, limits.iou_thr, limits.max_per_img)
    return found.take(kept)
