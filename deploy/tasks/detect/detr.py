"""The step ``detect.detr``: queries of DETR's family to detections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from backends.contract import Array
from deploy.runtime.results.detections import Detections
from deploy.runtime.results.result import Result
from deploy.runtime.vision.parameters import BoxCount, Threshold
from deploy.tasks.activations import sigmoid, softmax
from deploy.tasks.boxes import Scale, Size, corners, shape_error, usable


class Detr:
    """Class logits and boxes of queries to detections; there is no NMS.

    The model's outputs, float32: logits (N, Q, C), with ``softmax`` (N, Q, C + 1), and boxes
    (N, Q, 4): centre x, centre y, width and height, from 0 to 1 over the input tensor. They may
    come in either order where the shapes tell them apart; otherwise logits come first.

    A score must exceed ``score_thr``. Detections come best first, in pixels of the input tensor.

    Formula:
        1. The tensors are logits (1, Q, C) and boxes (1, Q, 4): centre x, centre y, width, height
           from 0 to 1; the one whose last axis is 4 has the boxes, of two such the second one.
        2. ``activation`` softmax: the softmax of each query over all classes, of which the last, no
           object, is left out; a query's label is its best class, the first of equal ones. Queries
           by score, best first, equal ones in their order.
        3. ``activation`` sigmoid: the ``num_select`` (null: Q) largest logits of all pairs of a
           query and a class, equal ones in the order of query, class; the score is 1 / (1 +
           exp(-logit)).
        4. Keep scores above ``score_thr`` whose box is finite. x1 = (centre x - width / 2) * width
           of ``size``, and so on. ``size`` is height, width.

    Args:
        activation: ``softmax`` with "no object" as the last class, and the best class of each
            query: DETR, Conditional DETR's first version, YOLOS. ``sigmoid``, and the best pairs of
            a query and a class: Deformable DETR, Conditional DETR, DINO, RT-DETR, RF-DETR.
        size: height and width of the input tensor.
        num_select: how many pairs are looked at, with ``sigmoid``; by default as many as queries.
        score_thr: see above.

    Examples:
        >>> import numpy as np
        >>> logits = np.array([[[-9.0, 2.0], [-9.0, -9.0]]], np.float32)
        >>> boxes = np.array([[[0.5, 0.5, 0.5, 0.25], [0.1, 0.1, 0.1, 0.1]]], np.float32)
        >>> [found] = Detr("sigmoid", size=(400, 600)).batch([logits, boxes])
        >>> found.boxes.tolist(), found.labels.tolist()
        ([[150.0, 150.0, 450.0, 250.0]], [1])
    """

    result: ClassVar[type[Result]] = Detections

    def __init__(
        self,
        activation: Literal["softmax", "sigmoid"],
        size: Size,
        num_select: BoxCount | None = None,
        score_thr: Threshold = 0.3,
    ) -> None:
        self._activation, self._scale = activation, Scale("normalised", size)
        self._num_select, self._score_thr = num_select, score_thr

    def batch(self, tensors: Sequence[Array]) -> list[Detections]:
        """Detections of each picture of a batch.

        Args:
            tensors: logits and boxes, as the class says.

        Raises:
            TensorError: other shapes.
        """
        logits, boxes = self._ordered(tensors)
        return [self._select(*picture) for picture in zip(logits, boxes, strict=True)]

    def _ordered(self, tensors: Sequence[Array]) -> tuple[Array, Array]:
        shapes = [tensor.shape for tensor in tensors]
        fits = len(shapes) == 2 and len(shapes[0]) == 3 and shapes[0][:2] == shapes[1][:2]
        if fits and len(shapes[1]) == 3 and 4 in (shapes[0][2], shapes[1][2]):
            logits, boxes = tensors if shapes[1][2] == 4 else reversed(tensors)
            if logits.shape[2] > (self._activation == "softmax"):
                return logits, boxes
        last = "classes + 1" if self._activation == "softmax" else "classes"
        raise shape_error(tensors, f"logits [N, queries, {last}] and boxes [N, queries, 4]")

    def _select(self, logits: Array, boxes: Array) -> Detections:
        if not len(logits):
            return Detections(boxes, logits[:, 0], np.empty(0, np.int64))
        queries, labels, scores = self._best(logits)
        with np.errstate(invalid="ignore"):
            fine = usable(boxes[queries]) & (scores > self._score_thr) & np.isfinite(scores)
        scaled = corners(self._scale(boxes[queries[fine]]))
        return Detections(scaled, scores[fine], labels[fine])

    def _best(self, logits: Array) -> tuple[Array, Array, Array]:
        """Queries, labels and scores (n,), best first."""
        if self._activation == "softmax":
            with np.errstate(invalid="ignore"):  # of infinities and NaN
                scores = softmax(logits)[:, :-1]
            labels, values = scores.argmax(axis=1), scores.max(axis=1)
            order = np.argsort(-values, kind="stable")
            return order, labels[order], values[order]
        flat = logits.ravel()
        most = min(self._num_select or len(logits), flat.size)
        with np.errstate(invalid="ignore"):
            order = np.argsort(-flat, kind="stable")[:most]  # a NaN is last
        classes = logits.shape[1]
        return order // classes, order % classes, sigmoid(flat[order])
