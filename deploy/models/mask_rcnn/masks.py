"""Masks of the size of a picture, made of the small ones that a head gives, each in its own box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.contract import Array

_STRIP = 1 << 17  # multiplications


@dataclass(frozen=True)
class Masks:
    """A mask for each detection, of which only the part around its box is kept.

    Attributes:
        height: of the picture in pixels.
        width: likewise.
        corners: (n, 2) int64, x and y of the pixel at the top left of each crop.
        crops: for each detection (h, w) bool; all beside it is False.
    """

    height: int
    width: int
    corners: Array
    crops: Sequence[Array]

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, number: int) -> Array:
        """The mask (height, width) bool of one detection."""
        mask = np.zeros((self.height, self.width), np.bool_)
        self._put(number, mask)
        return mask

    def dense(self) -> Array:
        """All masks (n, height, width) bool; a megabyte each where the picture has a megapixel."""
        masks = np.zeros((len(self), self.height, self.width), np.bool_)
        for number, mask in enumerate(masks):
            self._put(number, mask)
        return masks

    def take(self, chosen: Array) -> Masks:
        """The masks at these indices, or where this mask is true."""
        numbers = np.arange(len(self))[chosen]
        crops = [self.crops[number] for number in numbers]
        return Masks(self.height, self.width, self.corners[numbers], crops)

    def run_lengths(self, number: int) -> dict[str, Any]:
        """A mask as COCO's uncompressed run lengths: down the columns, beginning with False."""
        x, y = self.corners[number]
        column, row = np.nonzero(self.crops[number].T)
        place = (column + x) * self.height + row + y
        begins = np.flatnonzero(np.diff(place, prepend=-2) != 1)
        starts, ends = place[begins], np.append(place[begins[1:] - 1], place[-1:]) + 1
        edges = np.stack((starts, ends), axis=1).ravel()
        counts = np.diff(edges, prepend=0, append=self.height * self.width)
        return {"size": [self.height, self.width], "counts": counts.tolist()}

    def _put(self, number: int, mask: Array) -> None:
        (x, y), crop = self.corners[number], self.crops[number]
        mask[y : y + crop.shape[0], x : x + crop.shape[1]] = crop


def paste(stamps: Array, boxes: Array, height: int, width: int, threshold: float = 0.5) -> Masks:
    """Stretch small masks over their boxes, bilinearly, as MMDetection (3.3) does.

    Args:
        stamps: (n, s, s) float32 from 0 to 1.
        boxes: (n, 4) float32 in pixels of the picture.
        height: of the picture in pixels.
        width: likewise.
        threshold: from which a pixel belongs to the mask.
    """
    limits = (width, height)
    low = np.clip(np.floor(boxes[:, :2]) - 1, 0, limits).astype(np.int64)
    high = np.clip(np.ceil(boxes[:, 2:]) + 1, 0, limits).astype(np.int64)
    sides = np.maximum(high - low, 0)
    crops = []
    for stamp, box, (x, y), (wide, tall) in zip(stamps, boxes, low, sides, strict=True):
        across = _taps(box[0], box[2], x, wide, stamp.shape[1])
        down = _taps(box[1], box[3], y, tall, stamp.shape[0])
        crops.append(_at_least(threshold, down, stamp @ across.T))
    return Masks(height, width, low, crops)


def _at_least(threshold: float, left: Array, right: Array) -> Array:
    """Where the product of two matrices is at least ``threshold``.

    In strips that stay in the cache, and are too small for the threads of BLAS: on a busy machine
    these wait for each other longer than the work takes.
    """
    found = np.empty((left.shape[0], right.shape[1]), np.bool_)
    rows = max(1, _STRIP // max(1, right.size))
    for top in range(0, len(found), rows):
        strip = slice(top, top + rows)
        np.greater_equal(left[strip] @ right, threshold, out=found[strip])
    return found


def _taps(start: float, end: float, first: int, count: int, cells: int) -> Array:
    """The share (count, cells) that each pixel takes of each cell; none of what is outside."""
    centre = np.arange(first, first + count, dtype=np.float32) + np.float32(0.5)
    scale = np.float32(cells / max(float(end - start), 1e-6))
    at = (centre - start) * scale - np.float32(0.5)
    shares: Array = 1 - np.abs(at[:, None] - np.arange(cells, dtype=np.float32))
    return np.maximum(shares, 0, out=shares)
