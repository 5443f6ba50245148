"""The host steps of Mask R-CNN, registered by id, with MMDetection's semantics (3.3).

``mask_rcnn.proposals`` and ``mask_rcnn.detections`` are here; ``mask_rcnn.roi_align`` is in
``roi_align_numpy.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np

from backends.bounds import Between
from backends.contract import Array, TensorError, Tensors
from deploy.models.mask_rcnn.anchors import RATIOS, SCALE, STRIDES, base_anchors
from deploy.models.mask_rcnn.boxes import MAX_LOG_SCALE, batched_nms, decode_deltas
from deploy.models.mask_rcnn.roi_align_numpy import RoIAlign
from deploy.runtime.execution.host_steps import HostFactory
from deploy.runtime.vision.parameters import (
    BoxCount,
    CandidateCount,
    Overlap,
    Pixels,
    Threshold,
)
from deploy.tasks.activations import softmax

_DELTA_STDS = np.array((0.1, 0.1, 0.2, 0.2), np.float32)  # by which box head deltas are normalised


class Proposals:
    """The host step ``mask_rcnn.proposals``: RPN outputs to proposals, as ``RPNHead`` does.

    Formula:
        1. For each level l from 0 to 4, ``rpn_cls.l`` (1, 3, H, W) has a logit and ``rpn_reg.l``
           (1, 12, H, W) in channels 4 a to 4 a + 3 the deltas dx, dy, dw, dh of each anchor a of
           each cell. The anchor of the cell in row y and column x is ``base_anchors``[l][a] (x1,
           y1, x2, y2) moved by x * ``strides``[l] and y * ``strides``[l].
        2. Keep the ``nms_pre`` anchors of the level with the largest logits, equal ones in the
           order of row, column, anchor.
        3. With the anchor's centre (cx, cy), width w and height h: the box has the centre cx + dx *
           w, cy + dy * h and the sides w * exp(dw), h * exp(dh), where dw and dh are first clipped
           to -``max_log_scale`` and ``max_log_scale``. Clip it to 0 and ``width``, 0 and
           ``height``.
        4. Drop boxes with a side of at most ``min_size``.
        5. Go through the boxes of all levels from the largest logit down, equal ones by level and
           in their order; keep one unless a kept one of its level overlaps it with an IoU above
           ``iou_thr``; stop at ``max_per_img``.
        6. ``rois`` is a row 0, x1, y1, x2, y2 for each.

    Args:
        height: of the input tensor in pixels; proposals are clipped to it.
        width: of the input tensor in pixels.
        scale: side of a square anchor in cells.
        nms_pre: how many anchors of each level enter NMS, by their scores.
        max_per_img: the largest number of proposals.
        iou_thr: NMS removes a proposal that overlaps a better one of its level by more.
        min_size: in pixels; both sides of a proposal must exceed it.
    """

    def __init__(
        self,
        height: Pixels,
        width: Pixels,
        scale: Annotated[float, Between(0.01, 10_000)] = SCALE,
        nms_pre: CandidateCount = 1000,
        max_per_img: BoxCount = 1000,
        iou_thr: Overlap = 0.7,
        min_size: Annotated[float, Between(0, 100_000)] = 0.0,
    ) -> None:
        self._height, self._width = height, width
        self._anchors = [base_anchors(stride, scale) for stride in STRIDES]
        self._nms_pre, self._max_per_img = nms_pre, max_per_img
        self._iou_thr, self._min_size = iou_thr, min_size

    @staticmethod
    def formula_constants(scale: float, **_: object) -> Mapping[str, object]:
        """The numbers of the formula that are no parameters."""
        anchors = [base_anchors(stride, scale).tolist() for stride in STRIDES]
        return {"strides": STRIDES, "base_anchors": anchors, "max_log_scale": MAX_LOG_SCALE}

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Select the proposals of one picture.

        Args:
            inputs: ``rpn_cls.0`` to ``rpn_cls.4`` (1, 3, H, W) and ``rpn_reg.0`` to ``rpn_reg.4``
                (1, 12, H, W), finest level first.

        Returns:
            ``rois`` (n, 5) float32: 0, x1, y1, x2, y2 in pixels, best first.

        Raises:
            TensorError: an input has another shape.
        """
        levels = range(len(STRIDES))
        logits = [inputs[f"rpn_cls.{level}"] for level in levels]
        deltas = [inputs[f"rpn_reg.{level}"] for level in levels]
        return {"rois": _boxes_to_rois(self.select(logits, deltas)[0])}

    def select(self, logits: Sequence[Array], deltas: Sequence[Array]) -> tuple[Array, Array]:
        """Boxes (n, 4) and scores (n,) of the proposals, best first.

        Args:
            logits: (1, 3, H, W) per level, finest first.
            deltas: (1, 12, H, W) per level, finest first.

        Raises:
            TensorError: an input has another shape.
        """
        levels = zip(logits, deltas, STRIDES, self._anchors, strict=True)
        candidates = [self._level_candidates(*level) for level in levels]
        anchors, moves, scores = (
            np.concatenate(arrays) for arrays in zip(*candidates, strict=True)
        )
        level = np.repeat(np.arange(len(candidates)), [len(scores) for *_, scores in candidates])
        boxes = decode_deltas(anchors, moves, self._height, self._width)
        large = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] > self._min_size).all(axis=1))
        kept = batched_nms(
            boxes[large], scores[large], level[large], self._iou_thr, self._max_per_img
        )
        kept = large[kept]
        return boxes[kept], 1 / (1 + np.exp(-np.maximum(scores[kept], -80)))

    def _level_candidates(
        self, logits: Array, deltas: Array, stride: int, anchors: Array
    ) -> tuple[Array, Array, Array]:
        """Anchors (n, 4), deltas (n, 4) and logits (n,) of a level's best, best first."""
        _check_level(logits, deltas)
        anchor, cell = _top_k(logits.reshape(len(RATIOS), -1), self._nms_pre)
        y, x = np.divmod(cell, logits.shape[3])
        corner = np.stack((x, y, x, y), axis=1).astype(np.float32) * np.float32(stride)
        moves = deltas.reshape(len(RATIOS), 4, -1)[anchor, :, cell]
        return anchors[anchor] + corner, moves, logits.reshape(len(RATIOS), -1)[anchor, cell]


def _boxes_to_rois(boxes: Array) -> Array:
    """Boxes (n, 4) of the first picture as regions of interest (n, 5)."""
    return np.concatenate((np.zeros((len(boxes), 1), np.float32), boxes), axis=1)


def _top_k(values: Array, k: int) -> tuple[Array, Array]:
    """Row and column of the ``k`` largest values, largest first, equal ones by column, row."""
    flat = values.ravel()
    indices = np.arange(flat.size)
    if flat.size > k:
        indices = np.flatnonzero(flat >= np.partition(flat, flat.size - k)[flat.size - k])
    row, column = np.divmod(indices, values.shape[1])
    order = np.lexsort((row, column, -flat[indices]))[:k]
    return row[order], column[order]


def _check_level(logits: Array, deltas: Array) -> None:
    anchors = len(RATIOS)
    if (
        logits.ndim != 4
        or logits.shape[:2] != (1, anchors)
        or deltas.shape != (1, 4 * anchors, *logits.shape[2:])
    ):
        raise TensorError(
            "a level of the RPN",
            expected=f"logits [1, {anchors}, H, W] and deltas [1, {4 * anchors}, H, W]",
            got=f"{list(logits.shape)} and {list(deltas.shape)}",
        )


class BoxDetections:
    """The host step ``mask_rcnn.detections``: box head outputs to detections, as ``BBoxHead`` does.

    Formula:
        1. Scores are the softmax of each row of ``cls_score``, whose last class is the background
           and is left out. A pair of a region and a class is a candidate where its score exceeds
           ``score_thr``; candidates stand in the order of region, class.
        2. The deltas of class c are columns 4 c to 4 c + 3 of ``bbox_pred``, each times
           ``delta_stds``: dx, dy, dw, dh.
        3. With the centre (cx, cy), width w and height h of the region x1, y1, x2, y2: the box has
           the centre cx + dx * w, cy + dy * h and the sides w * exp(dw), h * exp(dh), where dw and
           dh are first clipped to -``max_log_scale`` and ``max_log_scale``. Clip it to 0 and
           ``width``, 0 and ``height``.
        4. Go through the candidates from the best score down, equal ones in their order; keep one
           unless a kept one of its class overlaps it with an IoU above ``iou_thr``; stop at
           ``max_per_img``.
        5. ``boxes``, ``scores`` and ``labels`` are those that are kept, best first; ``mask_rois``
           has a row 0, x1, y1, x2, y2 for each box.

    Args:
        height: of the input tensor in pixels; boxes are clipped to it.
        width: of the input tensor in pixels.
        score_thr: a class is detected when its softmax score exceeds this.
        iou_thr: NMS removes a box that overlaps a better one of its class by more.
        max_per_img: the largest number of detections.
    """

    def __init__(
        self,
        height: Pixels,
        width: Pixels,
        score_thr: Threshold = 0.05,
        iou_thr: Overlap = 0.5,
        max_per_img: BoxCount = 100,
    ) -> None:
        self._height, self._width = height, width
        self._score_thr, self._iou_thr, self._max_per_img = score_thr, iou_thr, max_per_img

    @staticmethod
    def formula_constants(**_: object) -> Mapping[str, object]:
        """The numbers of the formula that are no parameters."""
        return {"delta_stds": _DELTA_STDS.tolist(), "max_log_scale": MAX_LOG_SCALE}

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Select the detections of one picture.

        Args:
            inputs: ``rois`` (n, 5), ``cls_score`` (n, classes + 1) logits, the background last, and
                ``bbox_pred`` (n, classes * 4).

        Returns:
            ``boxes`` (k, 4) float32 in pixels, best first; ``scores`` (k,) float32; ``labels`` (k,)
            int64; and ``mask_rois`` (k, 5) float32, the boxes as regions of interest.

        Raises:
            TensorError: an input has another shape.
        """
        rois, logits, deltas = inputs["rois"], inputs["cls_score"], inputs["bbox_pred"]
        _check_box_head(rois, logits, deltas)
        class_scores = softmax(logits)[:, :-1]
        roi, label = np.nonzero(class_scores > self._score_thr)
        moves = deltas.reshape(*class_scores.shape, 4)[roi, label] * _DELTA_STDS
        boxes = decode_deltas(rois[roi, 1:], moves, self._height, self._width)
        scores = class_scores[roi, label]
        kept = batched_nms(boxes, scores, label, self._iou_thr, self._max_per_img)
        return {
            "boxes": boxes[kept],
            "scores": scores[kept],
            "labels": label[kept].astype(np.int64),
            "mask_rois": _boxes_to_rois(boxes[kept]),
        }


def _check_box_head(rois: Array, logits: Array, deltas: Array) -> None:
    shapes = [array.shape for array in (rois, logits, deltas)]
    count, classes = len(rois), logits.shape[-1] - 1
    if shapes != [(count, 5), (count, classes + 1), (count, 4 * classes)] or classes < 1:
        raise TensorError(
            "rois, cls_score and bbox_pred",
            expected="[n, 5], [n, classes + 1] and [n, classes * 4]",
            got=", ".join(str(list(shape)) for shape in shapes),
        )


HOST_STEPS: Mapping[str, HostFactory] = {
    "mask_rcnn.proposals": Proposals,
    "mask_rcnn.roi_align": RoIAlign,
    "mask_rcnn.detections": BoxDetections,
}
"""The host steps by the ids that bundles name."""
