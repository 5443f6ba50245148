"""The step ``pose.yolo``: rows of a YOLO pose head to objects with keypoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np

from backends.bounds import Between
from backends.contract import Array
from deploy.runtime.execution.post_steps import PostFactory
from deploy.runtime.results.result import Result
from deploy.runtime.vision.parameters import (
    BoxCount,
    CandidateCount,
    ClassCount,
    Overlap,
    Threshold,
)
from deploy.tasks.boxes import BoxFormat, Scale, Size, Units
from deploy.tasks.pose.result import Poses
from deploy.tasks.yolo_extras import Layout, RowReader, Rows, with_corners
from deploy.tasks.yolo_rows import Filter, Scores, Suppression

_COCO = 17  # keypoints of a person
_DO = "Set the parameters keypoints, dims and num_classes to those of the model."


class YoloPose:
    """Rows of a YOLO pose head to objects with keypoints: thresholds and NMS.

    The model's output, one tensor of float32, by ``layout``:

    - ``anchor_free``: (N, 4 + C + K * dims, A), or (N, A, 4 + C + K * dims) where C is known: box,
      class scores and keypoints of each anchor. YOLOv8-pose and YOLO11-pose: (N, 56, A), of one
      class and 17 keypoints.
    - ``end_to_end``: (N, objects, 6 + K * dims): x1, y1, x2, y2, score, class, keypoints.
      YOLO26-pose, and exports with NMS inside: (N, 300, 57).
    - ``auto``: decided by the shape, where only one layout has it.

    A keypoint is x, y and, with 3 dims, the probability that it is visible; boxes and keypoints are
    in pixels of the input tensor. A score must exceed ``score_thr``. Objects come best first.

    Formula:
        1. Columns are the anchors of the head, C is ``num_classes`` (null: 1 where ``keypoints`` is
           null too, else from the shape), K is ``keypoints`` (null: 17). ``layout`` anchor_free:
           (1, 4 + C + K * ``dims``, A), or turned: box, a score of each class, then x, y and with 3
           ``dims`` the visibility of each keypoint. end_to_end: (1, n, 6 + K * ``dims``): box,
           score, class, keypoints. auto is the one that the shape allows.
        2. The score of a class is its number, or 1 / (1 + exp(-v)) of it where ``scores`` is
           logits. An anchor is a candidate with its best class, the first of equal ones, where that
           score exceeds ``score_thr``. Keep the ``nms_pre`` best, equal ones in their order. Drop
           what is not finite or beyond 1e9.
        3. Boxes are centre x, centre y, width, height, or x1, y1, x2, y2 where ``boxes`` is xyxy or
           is null and the layout end_to_end; boxes and keypoints are times width and height of
           ``size`` where ``units`` is normalised.
        4. Go through the candidates from the best score down, equal ones in their order; keep one
           unless a kept one of its class (with ``agnostic`` of any class) overlaps it with an IoU
           above ``iou_thr``; stop at ``max_per_img``. end_to_end has no NMS: rows whose score
           exceeds ``score_thr`` are the objects, best first, at most ``max_per_img``.
        5. With 2 ``dims`` the visibility of each keypoint is 1.

    Args:
        layout: of the output.
        keypoints: K; by default 17.
        dims: numbers of a keypoint. With 2, all count as visible.
        num_classes: C; by default from the shape where ``keypoints`` is given, and 1 otherwise.
        boxes: their format; by default corners for ``end_to_end``, centre and size otherwise.
        units: of boxes and keypoints: pixels, or 0 to 1 over the input tensor's width and height.
        size: height and width of the input tensor; needed for normalised ones.
        scores: of classes: probabilities or logits.
        score_thr: see above.
        iou_thr: NMS removes a box that overlaps a better one of its class by more than this IoU.
        max_per_img: the largest number of objects of a picture.
        nms_pre: how many candidates with the best scores enter NMS.
        agnostic: NMS removes boxes of other classes too.

    Raises:
        ValueError: ``size`` is missing.

    Examples:
        >>> import numpy as np
        >>> output = np.zeros((1, 4 + 1 + 2 * 3, 100), np.float32)  # 1 class, 2 keypoints
        >>> output[0, :, 7] = 320, 240, 100, 50, 0.9, 300, 230, 1, 340, 250, 0.25
        >>> [found] = YoloPose(keypoints=2).batch([output])
        >>> found.boxes.tolist(), found.keypoints.tolist()
        ([[270.0, 215.0, 370.0, 265.0]], [[[300.0, 230.0, 1.0], [340.0, 250.0, 0.25]]])
    """

    result: ClassVar[type[Result]] = Poses

    def __init__(
        self,
        layout: Layout = "auto",
        keypoints: Annotated[int, Between(1, 1_000)] | None = None,
        dims: Literal[2, 3] = 3,
        num_classes: ClassCount | None = None,
        boxes: BoxFormat | None = None,
        units: Units = "pixels",
        size: Size | None = None,
        scores: Scores = "probabilities",
        score_thr: Threshold = 0.25,
        iou_thr: Overlap = 0.7,
        max_per_img: BoxCount = 300,
        nms_pre: CandidateCount = 30_000,
        agnostic: bool = False,
    ) -> None:
        rule = Filter(score_thr, scores == "logits", most=nms_pre)
        self._count, self._dims = keypoints or _COCO, dims
        if keypoints is None and num_classes is None:
            num_classes = 1
        self._reader = RowReader(layout, num_classes, rule, max_per_img, _DO)
        self._boxes, self._scale = boxes, Scale(units, size)
        self._suppression = Suppression(iou_thr, max_per_img, agnostic)

    def batch(self, tensors: Sequence[Array]) -> list[Poses]:
        """The objects of each picture of a batch.

        Args:
            tensors: the output of the head, as the class says.

        Raises:
            TensorError: other shapes.
        """
        extra = self._count * self._dims
        return [self._poses(rows) for rows in self._reader.read(tensors, extra)]

    def _poses(self, rows: Rows) -> Poses:
        objects = with_corners(rows, self._boxes, self._scale, self._suppression)
        points = objects.extras.reshape(-1, self._count, self._dims)
        keypoints = np.ones((*points.shape[:2], 3), np.float32)
        keypoints[..., :2] = self._scale(points[..., :2])
        if self._dims == 3:
            keypoints[..., 2] = points[..., 2]
        return Poses(objects.found.scores, objects.found.labels, objects.boxes, keypoints)


POSTS: Mapping[str, PostFactory] = {"pose.yolo": YoloPose}
"""The post-processing steps by the ids that bundles name."""
