"""Cells of the maps of anchor-free heads, and boxes from what the heads say of a cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from backends.contract import Array
from deploy.tasks.activations import softmax

_MAX_LOG_SIZE = 20.0  # exp of it is far beyond any picture


class Grid(NamedTuple):
    """The cells of all maps, one after the other, each row by row.

    Attributes:
        cells: (n, 2) float32, x and y of each cell in its map.
        strides: (n, 1) float32, pixels per cell.
    """

    cells: Array
    strides: Array


def make_grid(sizes: Sequence[tuple[int, int]], strides: Sequence[int]) -> Grid:
    """The cells of maps of these heights and widths.

    Examples:
        >>> grid = make_grid([(1, 2), (1, 1)], [8, 16])
        >>> grid.cells.tolist(), grid.strides.ravel().tolist()
        ([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]], [8.0, 8.0, 16.0])
    """
    cells = [
        np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
        for height, width in sizes
    ]
    counts = [len(part) for part in cells]
    return Grid(
        np.concatenate(cells).astype(np.float32),
        np.repeat(np.array(strides, np.float32), counts)[:, None],
    )


def yolox_boxes(raw: Array, cells: Array, strides: Array) -> Array:
    """Boxes (n, 4) centre and size in pixels from YOLOX's offsets and logarithms (n, 4)."""
    centre = (raw[:, :2] + cells) * strides
    size = np.exp(np.minimum(raw[:, 2:], _MAX_LOG_SIZE)) * strides
    boxes: Array = np.concatenate((centre, size), axis=1)
    return boxes


def distance_boxes(raw: Array, cells: Array, strides: Array) -> Array:
    """Boxes (n, 4) x1, y1, x2, y2 in pixels from the distances of a cell's centre to its sides.

    Args:
        raw: (n, 4 * bins): of left, top, right and bottom the logits of a distribution over 0, 1,
            2, ... cells (distribution focal loss, DFL), or with one bin the distance in cells.
        cells: as of ``Grid``, of each box.
        strides: likewise.
    """
    distances = raw.reshape(len(raw), 4, raw.shape[1] // 4)
    bins = distances.shape[2]
    if bins > 1:
        distances = softmax(distances) @ np.arange(bins, dtype=np.float32)
    sides = distances.reshape(len(raw), 4)
    centre = cells + np.float32(0.5)
    both = np.concatenate((centre - sides[:, :2], centre + sides[:, 2:]), axis=1)
    boxes: Array = both * strides
    return boxes
