"""Instance masks from prototypes, which all detections of a picture mix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from backends.contract import Array
from deploy.runtime.results.detections import Detections
from deploy.runtime.results.masks import Masks
from deploy.runtime.vision.dense_maps import scores_in_picture
from deploy.runtime.vision.placement import Placement

_BLOCK = 16  # detections whose masks are mixed at once, in the prototypes' size
_MOST_NUMBERS = 1 << 20  # of one mask in the picture's size that are held at once, as floats


@dataclass(frozen=True)
class PrototypeDetections(Detections):
    """Detections whose masks are still a few numbers each.

    Attributes:
        coefficients: (n, M) float32, how much of each prototype is in the mask of a detection.
        prototypes: (M, h, w) float32 over the whole input tensor. A pixel belongs to a mask where
            the sum is above 0, whose sigmoid is 0.5.
    """

    coefficients: Array = field(kw_only=True)
    prototypes: Array = field(kw_only=True)

    def take(self, selection: Array) -> Self:
        """The detections at these indices, or where this boolean array is true."""
        return replace(super().take(selection), coefficients=self.coefficients[selection])

    def placed(self, placement: Placement) -> Detections:
        """In the picture's own pixels: masks of its size, boxes clipped to it.

        A mask has no pixel outside of its box or of the input tensor. Detections whose box or score
        is not finite are dropped. Floats of the size of at most one strip of a picture are held.
        """
        finite = replace(self, boxes=placement.boxes_back(self.boxes)).finite()
        limits = np.array((placement.width, placement.height) * 2, np.float32)
        boxes = np.clip(finite.boxes, np.float32(0), limits)
        low, high = _pixels_of(boxes, placement)
        windows = zip(_mixed(finite.coefficients, finite.prototypes), low, high, strict=True)
        crops = [_crop(scores, placement, corner, end) for scores, corner, end in windows]
        masks = Masks(placement.height, placement.width, low, crops)
        return Detections(boxes, finite.scores, finite.labels, masks)


def _pixels_of(boxes: Array, placement: Placement) -> tuple[Array, Array]:
    """The first pixel (n, 2), x and y, of each box, and the one behind its last."""
    part = placement.in_picture()
    limits = [np.array(edge) for edge in ((part.left, part.top), (part.right, part.bottom))]
    low, high = (
        np.ceil(np.clip(corner, *limits)).astype(np.int64)
        for corner in (boxes[:, :2], boxes[:, 2:])
    )
    return low, np.maximum(low, high)


def _mixed(coefficients: Array, prototypes: Array) -> Iterator[Array]:
    """The scores (1, h, w) of each detection, in the prototypes' size."""
    flat = np.ascontiguousarray(prototypes).reshape(len(prototypes), -1)
    for first in range(0, len(coefficients), _BLOCK):
        with np.errstate(over="ignore", invalid="ignore"):  # what is no number is above nothing
            block = coefficients[first : first + _BLOCK] @ flat
        yield from block.reshape(-1, 1, *prototypes.shape[1:])


def _crop(scores: Array, placement: Placement, low: Array, high: Array) -> Array:
    """The mask (height, width) bool of the pixels from one corner to the other."""
    (left, top), (right, bottom) = low.tolist(), high.tolist()
    mask = np.zeros((bottom - top, right - left), np.bool_)
    rows = max(1, _MOST_NUMBERS // max(1, right - left))
    for first in range(top, bottom if right > left else top, rows):
        last = min(first + rows, bottom)
        window = placement.window(left, first, right, last)
        with np.errstate(over="ignore", invalid="ignore"):
            mask[first - top : last - top] = scores_in_picture(scores, window)[0] > 0
    return mask
