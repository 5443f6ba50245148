"""The step ``obb.yolo``: rows of a YOLO head for oriented boxes to rotated boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

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
from deploy.tasks.boxes import Scale, Size, Units
from deploy.tasks.obb.result import RotatedBoxes
from deploy.tasks.obb.rotated import rotated_nms
from deploy.tasks.yolo_extras import Layout, RowReader, Rows
from deploy.tasks.yolo_rows import Filter, Scores, Suppression


class YoloObb:
    """Rows of a YOLO head for oriented boxes to rotated boxes: thresholds and NMS.

    The model's output, one tensor of float32, by ``layout``:

    - ``anchor_free``: (N, 4 + C + 1, A), or (N, A, 4 + C + 1) where ``num_classes`` is given:
      centre x, centre y, width, height, class scores, and the angle of each anchor. YOLOv8-obb and
      YOLO11-obb: (N, 20, A) of DOTA's 15 classes.
    - ``end_to_end``: (N, objects, 7): centre x, centre y, width, height, score, class, angle.
      YOLO26-obb, and exports with NMS inside.
    - ``auto``: decided by the shape, where only one layout has it.

    The angle is in radians, from the x axis towards the y axis. A score must exceed ``score_thr``.
    Objects come best first, in pixels of the input tensor.

    Formula:
        1. Columns are the anchors of the head, C is ``num_classes`` or follows from the shape.
           ``layout`` anchor_free: (1, 4 + C + 1, A), or turned (1, A, 4 + C + 1): centre x, centre
           y, width, height, a score of each class, the angle in radians. end_to_end: (1, n, 7):
           centre x, centre y, width, height, score, class, angle. auto is the one that the shape
           allows.
        2. The score of a class is its number, or 1 / (1 + exp(-v)) of it where ``scores`` is
           logits. An anchor is a candidate with its best class, the first of equal ones, where that
           score exceeds ``score_thr``. Keep the ``nms_pre`` best, equal ones in their order. Where
           ``units`` is normalised, centre and size are times width and height of ``size``. Drop
           what is not finite or beyond 1e9.
        3. The overlap of two boxes is that of Gaussians: with W = width^2 / 12, H = height^2 / 12
           and angle t: a = W cos^2 t + H sin^2 t, b = W sin^2 t + H cos^2 t, c = (W - H) cos t sin
           t. With A = a1 + a2, B = b1 + b2, K = c1 + c2, D = A B - K^2, dx = x1 - x2, dy = y1 - y2,
           e = 1e-7: d1 = (A dy^2 + B dx^2 - 2 K dx dy) / (D + e) / 4; d2 = ln(D / (4 sqrt(max(a1 b1
           - c1^2, 0) max(a2 b2 - c2^2, 0)) + e) + e) / 2; overlap = 1 - sqrt(1 - exp(-clip(d1 + d2,
           e, 100)) + e).
        4. Sort the candidates by score, best first, equal ones in their order. Drop each one that
           has a better one of its class (with ``agnostic`` of any class), kept or not, with an
           overlap above ``iou_thr``. Keep the first ``max_per_img``.
        5. end_to_end has no NMS: rows whose score exceeds ``score_thr`` are the objects, best
           first, at most ``max_per_img``.

    Args:
        layout: of the output.
        num_classes: C; by default from the shape.
        units: of the boxes: pixels of the input tensor, or 0 to 1 over its width and height.
        size: height and width of the input tensor; needed for normalised boxes.
        scores: of classes: probabilities or logits.
        score_thr: see above.
        iou_thr: NMS removes a box whose overlap with a better one of its class is more than this.
            The overlap is ``probiou``, as Ultralytics has it, which is no share of area.
        max_per_img: the largest number of objects of a picture.
        nms_pre: how many candidates with the best scores enter NMS.
        agnostic: NMS removes boxes of other classes too.

    Raises:
        ValueError: ``size`` is missing.

    Examples:
        >>> import numpy as np
        >>> output = np.zeros((1, 4 + 2 + 1, 100), np.float32)  # 2 classes
        >>> output[0, :, 7] = 320, 240, 100, 50, 0.1, 0.9, 0.5
        >>> [found] = YoloObb().batch([output])
        >>> found.boxes.tolist(), found.labels.tolist()
        ([[320.0, 240.0, 100.0, 50.0, 0.5]], [1])
    """

    result: ClassVar[type[Result]] = RotatedBoxes

    def __init__(
        self,
        layout: Layout = "auto",
        num_classes: ClassCount | None = None,
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
        self._scale = Scale(units, size)
        self._suppression = Suppression(iou_thr, max_per_img, agnostic)

    def batch(self, tensors: Sequence[Array]) -> list[RotatedBoxes]:
        """The objects of each picture of a batch.

        Args:
            tensors: the output of the head, as the class says.

        Raises:
            TensorError: other shapes.
        """
        return [self._boxes(rows) for rows in self._reader.read(tensors, extra=1)]

    def _boxes(self, rows: Rows) -> RotatedBoxes:
        scaled = self._scale(rows.boxes)
        boxes = np.column_stack((scaled[:, :2], np.abs(scaled[:, 2:]), rows.extras))
        found = rows.found
        if not rows.final:
            kept = self._suppression.by(rotated_nms, boxes, found)
            boxes, found = boxes[kept], found.take(kept)
        return RotatedBoxes(found.scores, found.labels, boxes)


POSTS: Mapping[str, PostFactory] = {"obb.yolo": YoloObb}
"""The post-processing steps by the ids that bundles name."""
