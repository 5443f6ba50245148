"""Maps with a value for each pixel of the tensor, or of a coarser grid over it, in the picture."""

from __future__ import annotations

import numpy as np

from backends.contract import Array
from deploy.runtime.vision.placement import Placement


def labels_in_picture(labels: Array, placement: Placement, outside: int = 255) -> Array:
    """The label of each pixel of the picture: that of the cell in which its centre lies.

    Args:
        labels: (h, w) integers over the whole tensor, of its size or of a coarser grid.
        placement: of the picture in the tensor.
        outside: the label of pixels that lie outside of the tensor, where a picture was cropped.

    Returns:
        (height, width) of the picture, in the dtype of the labels.
    """
    rows, inside_rows = _cells(_rows(placement, labels.shape[0]), labels.shape[0])
    columns, inside_columns = _cells(_columns(placement, labels.shape[1]), labels.shape[1])
    found: Array = labels[rows[:, None], columns]
    if not (inside_rows.all() and inside_columns.all()):
        found[~inside_rows] = outside
        found[:, ~inside_columns] = outside
    return found


def scores_in_picture(scores: Array, placement: Placement) -> Array:
    """The scores at the centre of each pixel of the picture, bilinear between cells.

    The cells' own values lie at their centres (PyTorch's ``align_corners=False``), and the
    outermost go on to the edge and, where a picture was cropped, beyond it.

    Args:
        scores: (classes, h, w) floats over the whole tensor, of its size or of a coarser grid.
        placement: of the picture in the tensor.

    Returns:
        (classes, height, width) of the picture, float32.
    """
    low, high, share = _neighbours(_rows(placement, scores.shape[1]), scores.shape[1])
    values = scores.astype(np.float32, copy=False)
    tall = values[:, low] * (1 - share)[:, None] + values[:, high] * share[:, None]
    low, high, share = _neighbours(_columns(placement, scores.shape[2]), scores.shape[2])
    wide: Array = tall[:, :, low] * (1 - share) + tall[:, :, high] * share
    return wide


def pixels_in_tensor(placement: Placement) -> tuple[Array, Array]:
    """Which rows (height,) and columns (width,) of the picture lie in the tensor, as booleans."""
    height, width = placement.tensor_size
    rows, columns = _rows(placement, height), _columns(placement, width)
    return _cells(rows, height)[1], _cells(columns, width)[1]


def _rows(placement: Placement, count: int) -> Array:
    """Where the centre of each row of the picture lies in a map of so many rows."""
    centres = np.arange(placement.height) + 0.5
    scale = count / placement.tensor_size[0]
    found: Array = (centres * placement.scale_y + placement.offset_y) * scale
    return found


def _columns(placement: Placement, count: int) -> Array:
    centres = np.arange(placement.width) + 0.5
    scale = count / placement.tensor_size[1]
    found: Array = (centres * placement.scale_x + placement.offset_x) * scale
    return found


def _cells(positions: Array, count: int) -> tuple[Array, Array]:
    """The cells at these positions, and whether they are in the map at all."""
    cells = np.floor(positions).astype(np.int64)
    inside = (cells >= 0) & (cells < count)
    return cells.clip(0, count - 1), inside


def _neighbours(positions: Array, count: int) -> tuple[Array, Array, Array]:
    """The cells before and behind each position, and the share of the one behind."""
    centres = (positions - 0.5).clip(0, count - 1)
    low = np.floor(centres).astype(np.int64)
    share: Array = (centres - low).astype(np.float32)
    return low, np.minimum(low + 1, count - 1), share
