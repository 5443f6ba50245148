"""Masks of the size of a picture, made of the small ones that a head gives, each in its own box."""

from __future__ import annotations

import numpy as np

from backends.contract import Array
from deploy.runtime.masks import Masks

_STRIP = 1 << 17  # multiplications


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
