"""YOLOv3's post-processing steps, registered by id: decoding, thresholds and NMS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from backends.contract import Array, TensorError
from deploy.models.yolov3.anchors import ANCHORS, Sizes
from deploy.models.yolov3.decoding import (
    Candidates,
    Thresholds,
    make_map_decoder,
    select_detections,
)
from deploy.runtime.execution.post_steps import PostFactory
from deploy.runtime.results.detections import Detections
from deploy.runtime.vision.parameters import (
    BoxCount,
    CandidateCount,
    ClassCount,
    Overlap,
    Threshold,
)


class YoloPost:
    """Raw head maps to detections in input pixels.

    Args:
        backbone: chooses the published anchors, ``darknet53`` or ``mobilenetv2``.
        num_classes: classes of the head.
        score_thr: see ``Thresholds``; the same holds for the next four arguments.
        anchors: sizes per level, coarsest first; by default the published ones.

    Raises:
        ValueError: an unknown backbone, or anchors that are not equally many at each level.
    """

    def __init__(
        self,
        backbone: str,
        num_classes: ClassCount,
        score_thr: Threshold = 0.05,
        conf_thr: Threshold = 0.005,
        nms_pre: CandidateCount = 1000,
        iou_thr: Overlap = 0.45,
        max_per_img: BoxCount = 100,
        anchors: Sizes | None = None,
    ) -> None:
        if anchors is None and backbone not in ANCHORS:
            raise ValueError(f"backbone: expected {' or '.join(ANCHORS)}, got {backbone[:80]!r}")
        sizes = ANCHORS[backbone] if anchors is None else anchors
        counts = [len(level) for level in sizes]
        if len(set(counts)) > 1:
            raise ValueError(f"anchors: expected equally many at each level, got {counts}")
        self._half = np.array(sizes, np.float32) / 2
        self._attributes = 5 + num_classes
        self._thresholds = Thresholds(score_thr, conf_thr, nms_pre, iou_thr, max_per_img)
        self._decode = make_map_decoder(self._half, self._thresholds)

    def __call__(self, maps: Sequence[Array]) -> Detections:
        """Detections of one picture.

        Args:
            maps: (1, anchors * (5 + classes), H, W) float32 for each level, coarsest first.

        Raises:
            TensorError: another number or shape of maps, or more than one picture.
        """
        pictures = self.batch(maps)
        if len(pictures) != 1:
            raise TensorError(
                "maps", expected="one picture", got=str(len(pictures)), do="Use .batch()."
            )
        return pictures[0]

    def batch(self, maps: Sequence[Array]) -> list[Detections]:
        """Detections of each picture of a batch.

        Args:
            maps: (N, anchors * (5 + classes), H, W) float32 for each level, coarsest first.

        Raises:
            TensorError: another number or shape of maps.
        """
        self._check(maps)
        return [self._decode([raw[index] for raw in maps]) for index in range(len(maps[0]))]

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


class YoloBoxes:
    """Boxes decoded by the engine to detections: thresholds and NMS.

    Args:
        num_classes: classes of the head.
        score_thr: see ``Thresholds``; the same holds for the next four arguments.
    """

    def __init__(
        self,
        num_classes: ClassCount,
        score_thr: Threshold = 0.05,
        conf_thr: Threshold = 0.005,
        nms_pre: CandidateCount = 1000,
        iou_thr: Overlap = 0.45,
        max_per_img: BoxCount = 100,
    ) -> None:
        self._classes = num_classes
        self._thresholds = Thresholds(score_thr, conf_thr, nms_pre, iou_thr, max_per_img)

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
        return [self._select(*picture) for picture in zip(*decoded, strict=True)]

    def _select(self, boxes: Array, scores: Array, objectness: Array) -> Detections:
        likely = np.flatnonzero(objectness >= self._thresholds.conf_thr)
        anchor, label = np.nonzero(scores[likely] > self._thresholds.score_thr)
        anchor = likely[anchor]
        candidates = Candidates(boxes[anchor], scores[anchor, label], label, objectness[anchor])
        return select_detections(candidates, self._thresholds)


POSTS: Mapping[str, PostFactory] = {"yolov3.maps": YoloPost, "yolov3.boxes": YoloBoxes}
"""The post-processing steps by the ids that bundles name."""
