"""Masks of the size of a picture, made of the small ones that a head gives, each in its own box."""

from __future__ import annotations

import numpy as np

from backends.contract import Array
from deploy.runtime.vision.masks import Masks

_STRIP = 1 << 18  # multiplications


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
    across = _taps(boxes[:, 0], boxes[:, 2], low[:, 0], sides[:, 0], stamps.shape[2])
    down = _taps(boxes[:, 1], boxes[:, 3], low[:, 1], sides[:, 1], stamps.shape[1])
    crops = [
        _at_least(threshold, lines, stamp @ columns.T)
        for stamp, columns, lines in zip(stamps, across, down, strict=True)
    ]
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


def _taps(start: Array, end: Array, first: Array, counts: Array, cells: int) -> list[Array]:
    """For each box, the share (count, cells) that each pixel takes of each cell.

    Pixels take none of what is outside of the box. All boxes are done at once, for most are small.

    Args:
        start: (n,) where the boxes begin, in pixels.
        end: (n,) where they end.
        first: (n,) the first pixel of each.
        counts: (n,) how many pixels.
        cells: of a stamp.
    """
    ends = np.cumsum(counts)
    pixel = np.arange(counts.sum()) + np.repeat(first - ends + counts, counts)
    scale = np.float32(cells) / np.maximum(end - start, np.float32(1e-6))
    centre = pixel.astype(np.float32) + np.float32(0.5)
    at = (centre - np.repeat(start, counts)) * np.repeat(scale, counts) - np.float32(0.5)
    shares = np.abs(np.subtract.outer(at, np.arange(cells, dtype=np.float32)))
    np.subtract(1, shares, out=shares)
    return np.split(np.maximum(shares, 0, out=shares), ends)[:-1]
