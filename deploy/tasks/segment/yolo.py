"""The step ``segment.yolo``: rows and prototypes of a YOLO head to detections with masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from backends.contract import Array
from deploy.runtime.results.detections import Detections
from deploy.runtime.results.result import Result
from deploy.runtime.vision.parameters import (
    BoxCount,
    CandidateCount,
    ClassCount,
    Overlap,
    Threshold,
)
from deploy.tasks.boxes import BoxFormat, Scale, Size, Units, shape_error
from deploy.tasks.segment.prototypes import PrototypeDetections
from deploy.tasks.yolo_extras import Layout, RowReader, Rows, with_corners
from deploy.tasks.yolo_rows import Filter, Scores, Suppression


class YoloSegment:
    """Rows and prototypes of a YOLO segmentation head to detections with masks.

    The model's outputs, two tensors of float32 in either order: rows, and prototypes (N, M, h, w)
    over the whole input tensor; M is 32 in published models. The rows, by ``layout``:

    - ``anchor_free``: (N, 4 + C + M, A), or (N, A, 4 + C + M) where ``num_classes`` is given: box,
      class scores and mask coefficients of each anchor. YOLOv5-seg has another layout. YOLOv8-seg
      and YOLO11-seg: (N, 116, A) of COCO's 80 classes.
    - ``end_to_end``: (N, objects, 6 + M): x1, y1, x2, y2, score, class, coefficients. YOLO26-seg,
      and exports with NMS inside.
    - ``auto``: decided by the shape, where only one layout has it.

    A score must exceed ``score_thr``. Detections come best first. In the picture, a mask is the sum
    of the prototypes by the coefficients, bilinear between their cells, where it is above 0 inside
    of the box.

    Formula:
        1. The tensors are rows and prototypes (1, M, h, w) over the whole input tensor, in either
           order. Of the rows, columns are anchors, C is ``num_classes`` or follows from the shape.
           ``layout`` anchor_free: (1, 4 + C + M, A), or turned: box, a score of each class, M
           coefficients. end_to_end: (1, n, 6 + M): box, score, class, coefficients. auto is the one
           that the shape allows.
        2. The score of a class is its number, or 1 / (1 + exp(-v)) of it where ``scores`` is
           logits. An anchor is a candidate with its best class, the first of equal ones, where that
           score exceeds ``score_thr``. Keep the ``nms_pre`` best, equal ones in their order. Drop
           what is not finite or beyond 1e9.
        3. Boxes are centre x, centre y, width, height, or x1, y1, x2, y2 where ``boxes`` is xyxy or
           is null and the layout end_to_end; they are times width and height of ``size`` where
           ``units`` is normalised.
        4. Go through the candidates from the best score down, equal ones in their order; keep one
           unless a kept one of its class (with ``agnostic`` of any class) overlaps it with an IoU
           above ``iou_thr``; stop at ``max_per_img``. end_to_end has no NMS: rows whose score
           exceeds ``score_thr`` are the detections, best first, at most ``max_per_img``.
        5. Take the boxes to the picture and clip them to it. The mask of a detection in the
           prototypes' size is the sum of coefficient * prototype. The pixel in column x and row y
           of the picture is at X = ((x + 0.5) * scaled_width / width + left) * w / W of it, W the
           width of the input tensor, likewise Y; interpolate linearly at clip(X - 0.5, 0, w - 1),
           likewise in y. The pixel belongs to the mask where this is above 0, and where ceil(x1) <=
           x < ceil(x2), likewise in y, and it lies in the input tensor.

    Args:
        layout: of the rows.
        num_classes: C; by default from the shape.
        boxes: their format; by default corners for ``end_to_end``, centre and size otherwise.
        units: of the boxes: pixels of the input tensor, or 0 to 1 over its width and height.
        size: height and width of the input tensor; needed for normalised boxes.
        scores: of classes: probabilities or logits.
        score_thr: see above.
        iou_thr: NMS removes a box that overlaps a better one of its class by more than this IoU.
        max_per_img: the largest number of detections of a picture.
        nms_pre: how many candidates with the best scores enter NMS.
        agnostic: NMS removes boxes of other classes too.

    Raises:
        ValueError: ``size`` is missing.

    Examples:
        >>> import numpy as np
        >>> from deploy.runtime.vision.placement import Placement
        >>> rows = np.zeros((1, 4 + 1 + 1, 100), np.float32)  # 1 class, 1 prototype
        >>> rows[0, :, 7] = 4, 4, 4, 8, 0.9, 1.0
        >>> prototypes = np.where(np.arange(4) < 2, 1, -1).reshape(1, 1, 1, 4).astype(np.float32)
        >>> [found] = YoloSegment().batch([rows, prototypes])
        >>> found.placed(Placement(1.0, 1.0, 8, 8)).masks[0][0].astype(int).tolist()
        [0, 0, 1, 1, 0, 0, 0, 0]
    """

    result: ClassVar[type[Result]] = Detections

    def __init__(
        self,
        layout: Layout = "auto",
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
        do = "Set the parameter num_classes, or layout."
        self._reader = RowReader(layout, num_classes, rule, max_per_img, do)
        self._boxes, self._scale = boxes, Scale(units, size)
        self._suppression = Suppression(iou_thr, max_per_img, agnostic)

    def batch(self, tensors: Sequence[Array]) -> list[PrototypeDetections]:
        """The detections of each picture of a batch.

        Args:
            tensors: the outputs of the head, as the class says.

        Raises:
            TensorError: other shapes.
        """
        rows, prototypes = _ordered(tensors)
        pictures = self._reader.read([rows], prototypes.shape[1])
        return [self._masked(*picture) for picture in zip(pictures, prototypes, strict=True)]

    def _masked(self, rows: Rows, prototypes: Array) -> PrototypeDetections:
        objects = with_corners(rows, self._boxes, self._scale, self._suppression)
        return PrototypeDetections(
            objects.boxes,
            objects.found.scores,
            objects.found.labels,
            coefficients=objects.extras,
            prototypes=prototypes,
        )


def _ordered(tensors: Sequence[Array]) -> tuple[Array, Array]:
    """Rows and prototypes."""
    pair = sorted(tensors, key=lambda tensor: tensor.ndim)
    if [tensor.ndim for tensor in pair] == [3, 4]:
        rows, prototypes = pair[0], pair[1].astype(np.float32, copy=False)
        if len(rows) == len(prototypes) and 0 not in prototypes.shape[1:]:
            return rows, prototypes
    raise shape_error(
        tensors,
        "rows [N, 4 + classes + M, anchors] or [N, objects, 6 + M], and prototypes [N, M, h, w]",
        "Name both with inputs: [...] beside the step's id, where the model has more outputs.",
    )
