"""The anchors of MMDetection's published Mask R-CNN configurations."""

from __future__ import annotations

import numpy as np

from backends.contract import Array

STRIDES = (4, 8, 16, 32, 64)
"""Input pixels per cell of each level, finest first."""


RATIOS = (0.5, 1.0, 2.0)
"""Height over width of the anchors of a cell."""


SCALE = 8.0
"""Side of a square anchor in cells."""


FINEST_SCALE = 56.0
"""Regions whose side is below twice this many pixels are pooled from the finest level."""


def base_anchors(stride: int, scale: float = SCALE) -> Array:
    """The anchors (3, 4) float32 of the top left cell, as x1, y1, x2, y2 in pixels.

    They are centred on the top left corner of the cell.
    """
    root = np.sqrt(np.array(RATIOS, np.float32))
    sides = stride * np.float32(scale) * np.stack((1 / root, root), axis=1)
    return np.concatenate((-sides / 2, sides / 2), axis=1).astype(np.float32)


def level_anchors(height: int, width: int, stride: int, scale: float = SCALE) -> Array:
    """Every anchor (height * width * 3, 4) float32 of a level, ordered by row, column, ratio."""
    y, x = np.divmod(np.arange(height * width, dtype=np.float32), np.float32(width))
    corners = np.stack((x, y, x, y), axis=1) * np.float32(stride)
    return (corners[:, None] + base_anchors(stride, scale)).reshape(-1, 4)
