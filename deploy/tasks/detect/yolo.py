"""The step ``detect.yolo``: the outputs of YOLO heads to detections."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, ClassVar

import numpy as np

from backends.bounds import Between
from backends.contract import Array, TensorError
from deploy.runtime.results.detections import Detections
from deploy.runtime.results.result import Result
from deploy.runtime.vision.parameters import (
    BoxCount,
    CandidateCount,
    ClassCount,
    Overlap,
    Threshold,
)
from deploy.tasks.boxes import BoxFormat, Scale, Size, Units, corners, shape_error, usable
from deploy.tasks.detect.grid import Grid, distance_boxes, make_grid, yolox_boxes
from deploy.tasks.detect.yolo_layouts import (
    Head,
    KnownLayout,
    Layout,
    layout_of,
    split_anchor_free,
    split_maps,
    split_objectness,
)
from deploy.tasks.yolo_rows import (
    Filter,
    Scores,
    Strides,
    Suppression,
    best,
    end_to_end,
    find_candidates,
)

_grid = lru_cache(maxsize=4)(make_grid)


class Yolo:
    """Outputs of a YOLO head to detections: thresholds, decoding and NMS.

    The model's outputs, float32, by ``layout``:

    - ``anchor_free``: one tensor (N, 4 + C, A), or (N, A, 4 + C) where ``num_classes`` is given:
      box and class scores of each anchor. The exports of YOLOv8, v9, v11, v12 and 26 without NMS.
    - ``objectness``: one tensor (N, A, 5 + C): decoded box, objectness, class scores. YOLOv5, v6,
      v7, and YOLOX exported with decoding.
    - ``yolox``: the same, before grids and strides are applied: offsets in cells and logarithms
      of sizes. YOLOX's own exports. Needs ``size``.
    - ``end_to_end``: one tensor (N, objects, 6): x1, y1, x2, y2, score, class. YOLOv10, 26, and
      exports with NMS inside.
    - ``maps``: a tensor (N, 4 * bins + C, h, w) for each stride: distances of the four sides in
      cells, as distributions (16 bins) or as numbers (1 bin), and class logits. The raw heads of
      YOLOv8 and later.
    - ``auto``: decided by the shapes, where only one layout has them.

    A score must exceed ``score_thr``; with objectness it is objectness times class score.
    Detections come best first, in pixels of the input tensor.

    Formula:
        1. Columns are the anchors of the head, C is ``num_classes`` or follows from the shape.
           ``layout`` anchor_free: (1, 4 + C, A), or turned (1, A, 4 + C): four numbers of the box,
           then a score of each class. objectness and yolox: (1, A, 5 + C): box, objectness, class
           scores. maps: (1, 4 * ``bins`` + C, h, w) for each of ``strides``, cells row by row, one
           map after the other. end_to_end: (1, n, 6): box, score, class. auto is the only one of
           these that the shape allows: 4-dimensional is maps, more columns than rows is
           anchor_free, six columns of at most 300 rows is end_to_end.
        2. The score of a class is its number, or 1 / (1 + exp(-v)) of it where ``scores`` is logits
           (null: for maps alone). Where there is an objectness, it is treated likewise, and the
           score is the product of both.
        3. An anchor is a candidate with its best class, the first of equal ones, where that score
           exceeds ``score_thr``; with ``multi_label`` it is one with each class above it. Keep the
           ``nms_pre`` best, equal ones in their order: anchor by anchor, or with ``multi_label``
           class by class.
        4. Boxes of anchor_free and objectness are centre x, centre y, width, height, or x1, y1, x2,
           y2 where ``boxes`` is xyxy; where ``units`` is normalised, times width and height of
           ``size``. x1 = centre x - width / 2 and so on.
        5. Boxes of yolox, of the cell in column x and row y of a map with stride s (maps in the
           order of ``strides``, sides ceil(side of ``size`` / s), row by row): centre (raw_x + x) *
           s, (raw_y + y) * s; width exp(min(raw_w, 20)) * s, height likewise.
        6. Boxes of maps: left, top, right and bottom each have ``bins`` numbers; the distance is
           the sum of k * softmax(numbers)_k, or with one bin the number. x1 = (x + 0.5 - left) * s,
           y1 = (y + 0.5 - top) * s, x2 = (x + 0.5 + right) * s, y2 = (y + 0.5 + bottom) * s.
        7. Drop boxes with a coordinate that is not finite or beyond 1e9. Go through the candidates
           from the best score down, equal ones in their order; keep one unless a kept one of its
           class (with ``agnostic`` of any class) overlaps it with an IoU above ``iou_thr``; stop at
           ``max_per_img``.
        8. end_to_end has no NMS: rows with a value that is not finite or a negative class are
           dropped, those whose score exceeds ``score_thr`` are the detections, best first, at most
           ``max_per_img``. Boxes are x1, y1, x2, y2, unless ``boxes`` is xywh.

    Args:
        layout: of the outputs.
        num_classes: C; by default from the shape.
        boxes: their format, for ``anchor_free``, ``objectness`` and ``end_to_end``: centre and
            size, or two corners; by default corners for ``end_to_end``, centre and size otherwise.
        units: of the boxes: pixels of the input tensor, or 0 to 1 over its width and height.
        size: height and width of the input tensor; needed for normalised boxes and ``yolox``.
        scores: probabilities, or logits; by default logits for ``maps``, probabilities otherwise.
        strides: of the maps, for ``maps`` and ``yolox``: of the first map, of the second, ...
        bins: of the distributions of ``maps``.
        score_thr: see above.
        iou_thr: NMS removes a box that overlaps a better one of its class by more than this IoU.
        max_per_img: the largest number of detections of a picture.
        nms_pre: how many candidates with the best scores enter NMS.
        agnostic: NMS removes boxes of other classes too.
        multi_label: an anchor gives a detection for each class above the threshold, and not for
            the best one alone; Ultralytics evaluates so, and predicts without.

    Raises:
        ValueError: ``size`` is missing.

    Examples:
        >>> import numpy as np
        >>> outputs = np.zeros((1, 6, 8400), np.float32)  # 2 classes
        >>> outputs[0, :, 7] = 320, 240, 100, 50, 0.1, 0.9
        >>> [found] = Yolo(score_thr=0.5).batch([outputs])
        >>> found.boxes.tolist(), found.labels.tolist()
        ([[270.0, 215.0, 370.0, 265.0]], [1])
    """

    result: ClassVar[type[Result]] = Detections

    def __init__(
        self,
        layout: Layout = "auto",
        num_classes: ClassCount | None = None,
        boxes: BoxFormat | None = None,
        units: Units = "pixels",
        size: Size | None = None,
        scores: Scores | None = None,
        strides: Strides = (8, 16, 32),
        bins: Annotated[int, Between(1, 64)] = 16,
        score_thr: Threshold = 0.25,
        iou_thr: Overlap = 0.7,
        max_per_img: BoxCount = 300,
        nms_pre: CandidateCount = 30_000,
        agnostic: bool = False,
        multi_label: bool = False,
    ) -> None:
        if layout == "yolox" and size is None:
            raise ValueError("size: expected [height, width] of the input for yolox, got none")
        self._layout, self._num_classes, self._boxes = layout, num_classes, boxes
        self._scale, self._size = Scale(units, size), size
        self._strides, self._bins, self._scores = strides, bins, scores
        self._score_thr, self._multi_label, self._most = score_thr, multi_label, nms_pre
        self._suppression = Suppression(iou_thr, max_per_img, agnostic)

    def batch(self, tensors: Sequence[Array]) -> list[Detections]:
        """Detections of each picture of a batch.

        Args:
            tensors: the outputs of the head, as the class says.

        Raises:
            TensorError: other shapes, or shapes that several layouts have.
        """
        layout = layout_of(tensors, self._layout, self._num_classes)
        if layout == "end_to_end":
            return [self._take(rows) for rows in tensors[0]]
        rule = self._filter(layout)
        grid = self._grid(tensors, layout)
        return [self._select(head, layout, rule, grid) for head in self._heads(tensors, layout)]

    def _filter(self, layout: KnownLayout) -> Filter:
        scores = self._scores or ("logits" if layout == "maps" else "probabilities")
        return Filter(self._score_thr, scores == "logits", self._multi_label, self._most)

    def _heads(self, tensors: Sequence[Array], layout: KnownLayout) -> list[Head]:
        if layout == "anchor_free":
            return split_anchor_free(tensors[0], self._num_classes)
        if layout != "maps":
            return split_objectness(tensors[0])
        given = self._num_classes
        if tensors[0].shape[1] - 4 * self._bins < 1 or (
            given and tensors[0].shape[1] != 4 * self._bins + given
        ):
            rows = f"4 * {self._bins} + {given or 'classes'}"
            do = "Set num_classes, or bins: 1 where the head gives distances."
            raise shape_error(tensors, f"[N, {rows}, h, w] for each stride", do)
        return split_maps(tensors, self._bins)

    def _grid(self, tensors: Sequence[Array], layout: KnownLayout) -> Grid | None:
        if layout == "maps":
            return self._grid_of_maps(tensors)
        if layout != "yolox" or self._size is None:
            return None
        height, width = self._size
        sizes = tuple((-(-height // stride), -(-width // stride)) for stride in self._strides)
        count = sum(rows * columns for rows, columns in sizes)
        if tensors[0].shape[1] != count:
            raise TensorError(
                "the model's anchors",
                expected=f"{count} for an input of {height} x {width} at strides "
                f"{', '.join(map(str, self._strides))}",
                got=str(tensors[0].shape[1]),
                do="Set the parameters size and strides.",
            )
        return _grid(sizes, self._strides)

    def _grid_of_maps(self, maps: Sequence[Array]) -> Grid:
        sizes = tuple((tensor.shape[2], tensor.shape[3]) for tensor in maps)
        sides = {
            (height * stride, width * stride)
            for (height, width), stride in zip(sizes, self._strides, strict=False)
        }
        if len(maps) != len(self._strides) or len(sides) != 1:
            strides = ", ".join(map(str, self._strides))
            do = "Set the parameter strides, in the order of the outputs."
            raise shape_error(maps, f"maps of one input at strides {strides}", do)
        return _grid(sizes, self._strides)

    def _select(
        self, head: Head, layout: KnownLayout, rule: Filter, grid: Grid | None
    ) -> Detections:
        found = best(find_candidates(head.classes, rule, head.objectness), self._most)
        raw = np.ascontiguousarray(head.boxes[:, found.anchors].T)
        fine = usable(raw)
        if not fine.all():
            found, raw = found.take(fine), raw[fine]
        boxes = self._decoded(raw, layout, grid, found.anchors)
        fine = usable(boxes)
        if not fine.all():
            found, boxes = found.take(fine), boxes[fine]
        kept = self._suppression(boxes, found)
        return Detections(boxes[kept], found.scores[kept], found.labels[kept])

    def _decoded(self, raw: Array, layout: KnownLayout, grid: Grid | None, anchors: Array) -> Array:
        """Boxes (n, 4) x1, y1, x2, y2 in pixels of the input tensor."""
        if grid is not None:
            cells, strides = grid.cells[anchors], grid.strides[anchors]
            if layout == "maps":
                return distance_boxes(raw, cells, strides)
            return corners(yolox_boxes(raw, cells, strides))
        scaled = self._scale(raw)
        return scaled if self._boxes == "xyxy" else corners(scaled)

    def _take(self, rows: Array) -> Detections:
        rows, found = end_to_end(rows, self._score_thr, self._suppression.most)
        scaled = self._scale(rows[:, :4])
        boxes = corners(scaled) if self._boxes == "xywh" else scaled
        return Detections(boxes.astype(np.float32), found.scores, found.labels)
