"""YOLOv3 after the engine: decoding, thresholds and NMS, with MMDetection's semantics (3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from backends.contract import Array, TensorError
from deploy.models.yolov3.anchors import ANCHORS, STRIDES, Sizes
from deploy.runtime.detections import Detections
from deploy.runtime.nms import nms
from deploy.runtime.post import PostFactory

_LARGEST = 20.0  # exp of it is far beyond any picture, and areas stay within float32
_SLACK = 1e-3  # logits this far below a threshold are still computed exactly


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


class YoloPost:
    """Raw head maps to detections in input pixels.

    Args:
        backbone: chooses the published anchors, ``darknet53`` or ``mobilenetv2``.
        num_classes: classes of the head.
        score_thr: see ``Limits``; so for the four after it.
        anchors: sizes per level, coarsest first, in the place of the published ones.

    Raises:
        ValueError: an unknown backbone.
    """

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        score_thr: float = 0.05,
        conf_thr: float = 0.005,
        nms_pre: int = 1000,
        iou_thr: float = 0.45,
        max_per_img: int = 100,
        anchors: Sizes | None = None,
    ) -> None:
        if anchors is None and backbone not in ANCHORS:
            raise ValueError(f"backbone: expected {' or '.join(ANCHORS)}, got {backbone!r}")
        self._half = np.array(ANCHORS[backbone] if anchors is None else anchors, np.float32) / 2
        self._attributes = 5 + num_classes
        self._limits = Limits(score_thr, conf_thr, nms_pre, iou_thr, max_per_img)

    def __call__(self, maps: Sequence[Array]) -> Detections:
        """Detections of one picture.

        Args:
            maps: (1, anchors * (5 + classes), H, W) float32 for each level, coarsest first.

        Raises:
            TensorError: another number or shape of maps, or more than one picture.
        """
        found = self.batch(maps)
        if len(found) != 1:
            raise TensorError(
                "maps", expected="one picture", got=str(len(found)), do="Use .batch()."
            )
        return found[0]

    def batch(self, maps: Sequence[Array]) -> list[Detections]:
        """Detections of each picture of a batch; ``maps`` as for a call, N pictures each.

        Raises:
            TensorError: another number or shape of maps.
        """
        self._check(maps)
        return [self._one([raw[index] for raw in maps]) for index in range(len(maps[0]))]

    def _check(self, maps: Sequence[Array]) -> None:
        levels, anchors = self._half.shape[:2]
        channels = anchors * self._attributes
        shapes = [raw.shape for raw in maps]
        same_batch = len({shape[:1] for shape in shapes}) == 1
        good = all(len(shape) == 4 and shape[1] == channels for shape in shapes)
        if len(maps) != levels or not good or not same_batch:
            raise TensorError(
                "maps",
                expected=f"{levels} of shape [batch, {channels}, height, width]",
                got=", ".join(str(list(shape)) for shape in shapes),
            )

    def _one(self, maps: Sequence[Array]) -> Detections:
        levels = zip(maps, self._half, STRIDES, strict=True)
        parts = [self._candidates(*level) for level in levels]
        boxes, logits, objectness = (np.concatenate(part) for part in zip(*parts, strict=True))
        anchor, label = np.nonzero(logits > _logit(self._limits.score_thr) - _SLACK)
        scores = _sigmoid(logits[anchor, label])
        return select(boxes[anchor], scores, label, objectness[anchor], self._limits)

    def _candidates(self, raw: Array, half: Array, stride: int) -> tuple[Array, Array, Array]:
        """Boxes (n, 4), class logits (n, classes) and objectness (n,) of anchors that may count.

        The objectness is compared before any sigmoid, so that all others are read only once.
        """
        width = raw.shape[2]
        rows = raw.reshape(len(half), self._attributes, -1)
        # cells first: the order of anchors is row, column, anchor
        cell, anchor = np.nonzero(_logit(self._limits.conf_thr) - _SLACK <= rows[:, 4].T)
        found = rows[anchor, :, cell]
        grid = np.stack((cell % width, cell // width), axis=1).astype(np.float32)
        centre = (grid + 0.5) * stride + (_sigmoid(found[:, 0:2]) - 0.5) * stride
        size = np.exp(np.minimum(found[:, 2:4], _LARGEST)) * half[anchor]
        boxes = np.concatenate((centre - size, centre + size), axis=1)
        return boxes, found[:, 5:], _sigmoid(found[:, 4])


class YoloBoxes:
    """Boxes that the engine has decoded to detections: thresholds and NMS alone.

    Args:
        num_classes: classes of the head.
        score_thr: see ``Limits``; so for the four after it.
    """

    def __init__(
        self,
        num_classes: int,
        score_thr: float = 0.05,
        conf_thr: float = 0.005,
        nms_pre: int = 1000,
        iou_thr: float = 0.45,
        max_per_img: int = 100,
    ) -> None:
        self._classes = num_classes
        self._limits = Limits(score_thr, conf_thr, nms_pre, iou_thr, max_per_img)

    def batch(self, decoded: Sequence[Array]) -> list[Detections]:
        """Detections of each picture of a batch.

        Args:
            decoded: boxes (N, A, 4), class scores (N, A, classes) and objectness (N, A).

        Raises:
            TensorError: other shapes.
        """
        shapes = [array.shape for array in decoded]
        if len(shapes) != 3 or shapes != [(*shapes[2], 4), (*shapes[2], self._classes), shapes[2]]:
            raise TensorError(
                "decoded boxes",
                expected=f"[N, A, 4], [N, A, {self._classes}] and [N, A]",
                got=", ".join(str(list(shape)) for shape in shapes),
            )
        return [self._one(*picture) for picture in zip(*decoded, strict=True)]

    def _one(self, boxes: Array, scores: Array, objectness: Array) -> Detections:
        likely = np.flatnonzero(objectness >= self._limits.conf_thr)
        anchor, label = np.nonzero(scores[likely] > self._limits.score_thr)
        anchor = likely[anchor]
        return select(boxes[anchor], scores[anchor, label], label, objectness[anchor], self._limits)


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


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-np.maximum(x, -80)))  # exp(80) is still a float32


def _logit(share: float) -> float:
    return log(share / (1 - share)) if 0 < share < 1 else -np.inf if share <= 0 else np.inf


POSTS: Mapping[str, PostFactory] = {"yolov3.maps": YoloPost, "yolov3.boxes": YoloBoxes}
