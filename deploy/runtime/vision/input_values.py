"""Inputs of a model that take numbers of the picture, such as its size, beside the picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backends.contract import Array, TensorSpec
from deploy.runtime.vision.placement import Placement
from deploy.runtime.vision.pre import PictureValue, is_row_each


def input_values(
    spec: TensorSpec,
    values: Sequence[PictureValue | float],
    placements: Sequence[Placement],
    batch: int,
) -> Array:
    """The value of an input for a batch of pictures.

    Args:
        spec: of the input: a row of values for each picture of the batch, or one row for all.
        values: the numbers of a row, and names of those of the picture.
        placements: of the pictures.
        batch: how many rows; those beyond the pictures repeat the last.
    """
    rows = [[_number(value, placement) for value in values] for placement in placements]
    rows += [rows[-1]] * (batch - len(rows))
    dtype = np.dtype(spec.dtype)
    table: Array = np.array(rows)
    if dtype.kind in "iu":
        table = table.round()
    shape = spec.typical
    if is_row_each(spec, len(values)) and spec.accepts((batch, *shape[1:])):
        shape = (batch, *shape[1:])
    else:
        table = table[0]
    found: Array = table.astype(dtype).reshape(shape)
    return found


def _number(value: PictureValue | float, placement: Placement) -> float:
    if not isinstance(value, str):
        return float(value)
    height, width = placement.tensor_size
    numbers: dict[PictureValue, float] = {
        "height": placement.height,
        "width": placement.width,
        "scaled_height": placement.height * placement.scale_y,
        "scaled_width": placement.width * placement.scale_x,
        "tensor_height": height,
        "tensor_width": width,
        "scale_y": placement.scale_y,
        "scale_x": placement.scale_x,
    }
    return numbers[value]
