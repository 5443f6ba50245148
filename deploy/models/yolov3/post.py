"""YOLOv3's post-processing steps, registered by id: decoding, thresholds and NMS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from backends.contract import Array, TensorError
from deploy.models.yolov3.anchors import ANCHORS, STRIDES, Sizes
from deploy.models.yolov3.decoding import (
    MAX_LOG_SIZE,
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

    Formula:
        1. Each tensor is the map (1, A * (5 + num_classes), H, W) of a level, coarsest first. A is
           the number of ``anchors`` of the level. Of anchor a, channel a * (5 + num_classes) + k
           holds at row y and column x: tx, ty, tw, th for k from 0 to 3, the objectness for k = 4,
           class c for k = 5 + c.
        2. sigmoid(v) = 1 / (1 + exp(-v)). A pair of an anchor and a class is a candidate where
           sigmoid(objectness) is at least ``conf_thr`` and sigmoid(class) exceeds ``score_thr``.
        3. With s = ``strides`` of the level, the centre of its box is x_c = (x + sigmoid(tx)) * s
           and y_c = (y + sigmoid(ty)) * s; half its width is exp(min(tw, ``max_log_size``)) *
           anchor width / 2, half its height likewise. The box is x_c - half width, y_c - half
           height, x_c + half width, y_c + half height, in pixels of the input tensor.
        4. Candidates stand in the order of level, row, column, anchor, class. Keep the ``nms_pre``
           with the largest sigmoid(class), equal ones in this order; then drop those whose box is
           not finite or has no area.
        5. The score is sigmoid(class) * sigmoid(objectness). Go through the candidates from the
           best score down, equal ones in their order; keep one unless a kept one of its class
           overlaps it with an IoU above ``iou_thr``; stop at ``max_per_img``.

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

    @staticmethod
    def formula_constants(
        backbone: str, anchors: Sizes | None, **_: object
    ) -> Mapping[str, object]:
        """The numbers of the formula that are no parameters."""
        sizes = ANCHORS[backbone] if anchors is None else anchors
        return {"anchors": sizes, "strides": STRIDES, "max_log_size": MAX_LOG_SIZE}

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

    Formula:
        1. The tensors are boxes (1, A, 4) x1, y1, x2, y2 in pixels of the input tensor, class
           scores (1, A, num_classes) and objectness (1, A), all after the sigmoid.
        2. A pair of an anchor and a class is a candidate where the objectness is at least
           ``conf_thr`` and the class score exceeds ``score_thr``. Candidates stand in the order of
           anchor, class.
        3. Keep the ``nms_pre`` with the largest class scores, equal ones in this order; then drop
           those whose box is not finite or has no area.
        4. The score is class score * objectness. Go through the candidates from the best score
           down, equal ones in their order; keep one unless a kept one of its class overlaps it with
           an IoU above ``iou_thr``; stop at ``max_per_img``.

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
