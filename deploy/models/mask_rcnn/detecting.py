"""What the box head says of each region -> detections."""

from __future__ import annotations

import numpy as np

from backends.contract import Array, TensorError, Tensors
from deploy.models.mask_rcnn.boxes import decode, suppress
from deploy.models.mask_rcnn.proposals import as_rois

_STDS = np.array((0.1, 0.1, 0.2, 0.2), np.float32)  # that the deltas are normalised by


class BoxDetections:
    """The host step ``mask_rcnn.detections``, with MMDetection's semantics of ``BBoxHead`` (3.3).

    Args:
        height: of the input tensor in pixels; boxes are clipped to it.
        width: likewise.
        score_thr: a class counts above this share of a region.
        iou_thr: overlap from which the lesser box of a class goes.
        max_per_img: how many boxes stay.
    """

    def __init__(
        self,
        height: int,
        width: int,
        score_thr: float = 0.05,
        iou_thr: float = 0.5,
        max_per_img: int = 100,
    ) -> None:
        self._height, self._width = height, width
        self._score_thr, self._iou_thr, self._most = score_thr, iou_thr, max_per_img

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Detect.

        Args:
            inputs: ``rois`` (n, 5), ``cls_score`` (n, classes + 1) logits, the background last, and
                ``bbox_pred`` (n, classes * 4).

        Returns:
            ``boxes`` (k, 4) float32 in pixels, best first; ``scores`` (k,) float32; ``labels`` (k,)
            int64; and ``mask_rois`` (k, 5) float32, the boxes as regions.

        Raises:
            TensorError: other shapes.
        """
        rois, logits, deltas = inputs["rois"], inputs["cls_score"], inputs["bbox_pred"]
        _check(rois, logits, deltas)
        shares = _softmax(logits)[:, :-1]
        roi, label = np.nonzero(shares > self._score_thr)
        moves = deltas.reshape(*shares.shape, 4)[roi, label] * _STDS
        boxes = decode(rois[roi, 1:], moves, self._height, self._width)
        scores = shares[roi, label]
        kept = suppress(boxes, scores, label, self._iou_thr, self._most)
        return {
            "boxes": boxes[kept],
            "scores": scores[kept],
            "labels": label[kept].astype(np.int64),
            "mask_rois": as_rois(boxes[kept]),
        }


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _check(rois: Array, logits: Array, deltas: Array) -> None:
    shapes = [array.shape for array in (rois, logits, deltas)]
    count, classes = len(rois), logits.shape[-1] - 1
    if shapes != [(count, 5), (count, classes + 1), (count, 4 * classes)] or classes < 1:
        raise TensorError(
            "rois, cls_score and bbox_pred",
            expected="[n, 5], [n, classes + 1] and [n, classes * 4]",
            got=", ".join(str(list(shape)) for shape in shapes),
        )
