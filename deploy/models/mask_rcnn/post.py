"""Mask R-CNN's post-processing step, registered by id: detections with pasted masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from backends.contract import Array, TensorError
from deploy.runtime.execution.post_steps import PostFactory
from deploy.runtime.results.detections import Detections
from deploy.runtime.results.masks import Masks
from deploy.runtime.vision.image import Placement
from deploy.runtime.vision.parameters import Threshold

_STRIP = 1 << 18  # multiplications per strip of a product


@dataclass(frozen=True)
class RoIMaskDetections(Detections):
    """Detections with the mask of each as the network gives it: a small grid over its box.

    Attributes:
        roi_masks: (n, s, s) float32 probabilities.
        threshold: a pixel belongs to the mask from this probability on.
    """

    roi_masks: Array = field(kw_only=True)
    threshold: float = 0.5

    def take(self, chosen: Array) -> Self:
        """The detections at these indices, or where this mask is true."""
        return replace(super().take(chosen), roi_masks=self.roi_masks[chosen])

    def placed(self, placement: Placement) -> Detections:
        """In the picture's own pixels: masks pasted, boxes clipped.

        Detections whose box or score is not finite are dropped.
        """
        finite = replace(self, boxes=placement.boxes_back(self.boxes)).finite()
        height, width = placement.height, placement.width
        with np.errstate(over="ignore", invalid="ignore"):  # coordinates may overflow float32
            masks = paste_masks(finite.roi_masks, finite.boxes, height, width, self.threshold)
        clipped = np.clip(finite.boxes, np.float32(0), np.array((width, height) * 2, np.float32))
        return Detections(clipped, finite.scores, finite.labels, masks)


class MaskPost:
    """The post-processing step ``mask_rcnn.masks``.

    Formula:
        1. The tensors are mask logits (n, classes, s, s), boxes (n, 4), scores (n,) and labels
           (n,). The mask of detection i is 1 / (1 + exp(-v)) of the grid (s, s) of its own label.
        2. Take the boxes to pixels of the picture; drop detections whose box or score is not
           finite.
        3. A pixel in column x and row y of the picture may belong to the mask where floor(x1) - 1
           <= x < ceil(x2) + 1, likewise in y. With u = (x + 0.5 - x1) * s / max(x2 - x1, 0.000001)
           - 0.5, column j of the grid has the weight max(0, 1 - |u - j|), rows likewise. The pixel
           belongs to the mask where the sum of weight * weight * grid is at least ``threshold``.
        4. At last clip the boxes to the picture.

    Args:
        threshold: a pixel belongs to the mask from this probability on.
    """

    def __init__(self, threshold: Threshold = 0.5) -> None:
        self._threshold = threshold

    def batch(self, tensors: Sequence[Array]) -> list[Detections]:
        """The detections of one picture, as a list of one.

        Args:
            tensors: mask logits (n, classes, s, s), boxes (n, 4) in input pixels, scores (n,) and
                labels (n,), in the order of the chain's outputs.

        Raises:
            TensorError: another number of tensors, or other shapes.
        """
        _check(tensors)
        logits, boxes, scores, labels = tensors
        own_class = logits[np.arange(len(labels)), labels]
        # exp(80) is still a float32; fmax turns NaN into a probability of 0
        roi_masks = 1 / (1 + np.exp(-np.fmax(own_class, -80)))
        return [
            RoIMaskDetections(boxes, scores, labels, roi_masks=roi_masks, threshold=self._threshold)
        ]


def _check(tensors: Sequence[Array]) -> None:
    shapes = [array.shape for array in tensors]
    count = shapes[0][0] if shapes and shapes[0] else 0
    if shapes[1:] != [(count, 4), (count,), (count,)] or len(shapes[0]) != 4:
        raise TensorError(
            "masks, boxes, scores and labels",
            expected="[n, classes, s, s], [n, 4], [n] and [n]",
            got=", ".join(str(list(shape)) for shape in shapes),
        )


def paste_masks(
    roi_masks: Array, boxes: Array, height: int, width: int, threshold: float = 0.5
) -> Masks:
    """Resize each mask to its box bilinearly, as MMDetection (3.3) does.

    Args:
        roi_masks: (n, s, s) float32 probabilities.
        boxes: (n, 4) float32 in pixels of the picture.
        height: of the picture in pixels.
        width: of the picture in pixels.
        threshold: a pixel belongs to the mask from this probability on.
    """
    limits = (width, height)
    low = np.clip(np.floor(boxes[:, :2]) - 1, 0, limits).astype(np.int64)
    high = np.clip(np.ceil(boxes[:, 2:]) + 1, 0, limits).astype(np.int64)
    sides = np.maximum(high - low, 0)
    x_weights = _weights(boxes[:, 0], boxes[:, 2], low[:, 0], sides[:, 0], roi_masks.shape[2])
    y_weights = _weights(boxes[:, 1], boxes[:, 3], low[:, 1], sides[:, 1], roi_masks.shape[1])
    crops = [
        _product_at_least(threshold, y_weight, roi_mask @ x_weight.T)
        for roi_mask, x_weight, y_weight in zip(roi_masks, x_weights, y_weights, strict=True)
    ]
    return Masks(height, width, low, crops)


def _product_at_least(threshold: float, left: Array, right: Array) -> Array:
    """Where the product of two matrices is at least ``threshold``.

    Computed in strips that fit the CPU's cache and are too small for BLAS to use threads. On a busy
    machine, threads would wait for each other longer than the product takes.
    """
    mask = np.empty((left.shape[0], right.shape[1]), np.bool_)
    rows = max(1, _STRIP // max(1, right.size))
    for top in range(0, len(mask), rows):
        strip = slice(top, top + rows)
        np.greater_equal(left[strip] @ right, threshold, out=mask[strip])
    return mask


def _weights(start: Array, end: Array, first: Array, counts: Array, cells: int) -> list[Array]:
    """For each box, the bilinear weights (count, cells) of each pixel, in one direction.

    Cells outside of the box have weight 0. All boxes are computed at once, since most are small.

    Args:
        start: (n,) low edge of each box in pixels.
        end: (n,) high edge of each box in pixels.
        first: (n,) first pixel of each crop.
        counts: (n,) number of pixels of each crop.
        cells: side of a mask in cells.
    """
    ends = np.cumsum(counts)
    pixel = np.arange(counts.sum()) + np.repeat(first - ends + counts, counts)
    scale = np.float32(cells) / np.maximum(end - start, np.float32(1e-6))
    centre = pixel.astype(np.float32) + np.float32(0.5)
    cell = (centre - np.repeat(start, counts)) * np.repeat(scale, counts) - np.float32(0.5)
    weights = np.abs(np.subtract.outer(cell, np.arange(cells, dtype=np.float32)))
    np.subtract(1, weights, out=weights)
    return np.split(np.maximum(weights, 0, out=weights), ends)[:-1]


POSTS: Mapping[str, PostFactory] = {"mask_rcnn.masks": MaskPost}
"""The post-processing steps by the ids that bundles name."""
