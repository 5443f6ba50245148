"""Formats and units of boxes, and which of them can be computed with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from backends.bounds import Between, Length
from backends.contract import Array, TensorError

Units = Literal["pixels", "normalised"]
"""Of coordinates: pixels of the input tensor, or 0 to 1 over its width and height."""


BoxFormat = Literal["xywh", "xyxy"]
"""Centre and size, or two corners."""


Side = Annotated[int, Between(1, 100_000)]


Size = Annotated[tuple[Side, ...], Length(2, 2)]
"""Height and width of the input tensor, in pixels."""


FARTHEST = 1e9
"""Coordinates beyond are no picture's, and the area of such a box would overflow float32."""


def corners(boxes: Array) -> Array:
    """Boxes (..., 4) centre x, centre y, width, height to x1, y1, x2, y2.

    Examples:
        >>> corners(np.array([[10.0, 20.0, 4.0, 8.0]])).tolist()
        [[8.0, 16.0, 12.0, 24.0]]
    """
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    both: Array = np.concatenate((centre - half, centre + half), axis=-1)
    return both


def usable(values: Array) -> Array:
    """Which rows (n,) of coordinates (n, ...) are finite and not absurdly far away."""
    with np.errstate(invalid="ignore"):
        near: Array = np.abs(values) <= FARTHEST
    rows: Array = np.logical_and.reduce(near, axis=tuple(range(1, near.ndim)))
    return rows


class Scale:
    """From the units of a model's boxes to pixels of its input tensor.

    Args:
        units: of the model's boxes.
        size: of the input tensor; needed for ``normalised`` ones.

    Raises:
        ValueError: normalised boxes of a tensor of unknown size.
    """

    def __init__(self, units: Units, size: Size | None) -> None:
        if units == "normalised" and size is None:
            raise ValueError(
                "size: expected [height, width] of the input tensor, for normalised boxes, got none"
            )
        height, width = (1, 1) if units == "pixels" or size is None else size
        self._pair = np.array((width, height), np.float32)

    def __call__(self, values: Array) -> Array:
        """Pairs of x and y, or of width and height, side by side: (..., 2 * k)."""
        repeats = values.shape[-1] // 2
        scaled: Array = values * np.tile(self._pair, repeats)
        return scaled


def shape_error(tensors: Sequence[Array], expected: str, do: str = "") -> TensorError:
    """The error for outputs of a model whose shapes a step does not take."""
    got = ", ".join(str(list(tensor.shape)) for tensor in tensors) or "none"
    return TensorError("the model's outputs", expected=expected, got=got, do=do)
