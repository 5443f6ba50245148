"""What the RPN found on five levels -> the regions that the heads look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backends.contract import Array, TensorError, Tensors
from deploy.models.mask_rcnn.anchors import RATIOS, SCALE, STRIDES, base_anchors
from deploy.models.mask_rcnn.boxes import decode, suppress


class Proposals:
    """The host step ``mask_rcnn.proposals``, with MMDetection's semantics of ``RPNHead`` (3.3).

    Args:
        height: of the input tensor in pixels; regions are clipped to it.
        width: likewise.
        scale: side of a square anchor in cells.
        nms_pre: how many anchors of each level go on, by their scores.
        max_per_img: how many regions stay.
        iou_thr: overlap from which the lesser region of a level goes.
        min_size: in pixels; both sides of a region are longer.
    """

    def __init__(
        self,
        height: int,
        width: int,
        scale: float = SCALE,
        nms_pre: int = 1000,
        max_per_img: int = 1000,
        iou_thr: float = 0.7,
        min_size: float = 0.0,
    ) -> None:
        self._height, self._width = height, width
        self._anchors = [base_anchors(stride, scale) for stride in STRIDES]
        self._nms_pre, self._most = nms_pre, max_per_img
        self._iou_thr, self._min_size = iou_thr, min_size

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Choose.

        Args:
            inputs: ``rpn_cls.0`` to ``rpn_cls.4`` (1, 3, H, W) and ``rpn_reg.0`` to ``rpn_reg.4``
                (1, 12, H, W), finest level first.

        Returns:
            ``rois`` (n, 5) float32: 0, x1, y1, x2, y2 in pixels, best first.

        Raises:
            TensorError: other shapes.
        """
        levels = range(len(STRIDES))
        logits = [inputs[f"rpn_cls.{level}"] for level in levels]
        deltas = [inputs[f"rpn_reg.{level}"] for level in levels]
        return {"rois": as_rois(self.choose(logits, deltas)[0])}

    def choose(self, logits: Sequence[Array], deltas: Sequence[Array]) -> tuple[Array, Array]:
        """Boxes (n, 4) and scores (n,), best first; the arguments are as for a call.

        Raises:
            TensorError: other shapes.
        """
        parts = [self._best(*level) for level in zip(logits, deltas, self._levels, strict=True)]
        anchors, moves, found = (np.concatenate(part) for part in zip(*parts, strict=True))
        level = np.repeat(np.arange(len(parts)), [len(part[2]) for part in parts])
        boxes = decode(anchors, moves, self._height, self._width)
        good = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] > self._min_size).all(axis=1))
        kept = suppress(boxes[good], found[good], level[good], self._iou_thr, self._most)
        kept = good[kept]
        return boxes[kept], 1 / (1 + np.exp(-np.maximum(found[kept], -80)))

    @property
    def _levels(self) -> list[tuple[int, Array]]:
        return list(zip(STRIDES, self._anchors, strict=True))

    def _best(
        self, logits: Array, deltas: Array, level: tuple[int, Array]
    ) -> tuple[Array, Array, Array]:
        """Anchors (n, 4), deltas (n, 4) and logits (n,) of a level's best, best first."""
        _check(logits, deltas)
        stride, base = level
        anchor, cell = _largest(logits.reshape(len(RATIOS), -1), self._nms_pre)
        y, x = np.divmod(cell, logits.shape[3])
        corner = np.stack((x, y, x, y), axis=1).astype(np.float32) * np.float32(stride)
        moves = deltas.reshape(len(RATIOS), 4, -1)[anchor, :, cell]
        return base[anchor] + corner, moves, logits.reshape(len(RATIOS), -1)[anchor, cell]


def as_rois(boxes: Array) -> Array:
    """Boxes (n, 4) of the first picture as regions (n, 5)."""
    return np.concatenate((np.zeros((len(boxes), 1), np.float32), boxes), axis=1)


def _largest(values: Array, most: int) -> tuple[Array, Array]:
    """Row and column of the ``most`` largest values, largest first, equal ones by column, row."""
    flat = values.ravel()
    chosen = np.arange(flat.size)
    if flat.size > most:
        chosen = np.flatnonzero(flat >= np.partition(flat, flat.size - most)[flat.size - most])
    row, column = np.divmod(chosen, values.shape[1])
    order = np.lexsort((row, column, -flat[chosen]))[:most]
    return row[order], column[order]


def _check(logits: Array, deltas: Array) -> None:
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
