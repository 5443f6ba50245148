"""Shapes of layers that pad or resample an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from backends.ncnn.checking.blob import Blob, ShapeRule, Sizes, evaluate_expression
from backends.ncnn.checking.param import Layer

_REFLECT = 2


def _padding(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    sizes = bottoms[0].sizes
    top, bottom, left, right, front, behind = (layer.integer(key) for key in (0, 1, 2, 3, 7, 8))
    # from the innermost axis; of rank 4 the channels are not padded
    by_axis = [(left, right), (top, bottom), (front, behind), (0, 0)]
    pads = by_axis[: len(sizes)][::-1]
    if layer.integer(4) == _REFLECT and any(
        max(pad) >= size for pad, size in zip(pads, sizes, strict=True)
    ):
        raise layer.fault("pads that reflect", f"less than {list(sizes)}", pads)
    result = tuple(before + size + after for (before, after), size in zip(pads, sizes, strict=True))
    channel_values = layer.integer(6)
    if channel_values and channel_values < result[0]:
        raise layer.fault("values of channels", str(result[0]), channel_values)
    return [result]


def _interp(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes | None]:
    sizes = bottoms[0].sizes
    if len(sizes) == 4:
        raise layer.fault("the rank of its bottom", "1 to 3", 4)
    resized = _resized(layer, bottoms)
    if resized is None:
        return [None]
    return [(sizes[0], resized[1]) if len(sizes) == 2 else (sizes[0], *resized)]


def _resized(layer: Layer, bottoms: Sequence[Blob]) -> tuple[int, int] | None:
    """Height and width; None where only ncnn can compute them."""
    is_vector = len(bottoms[0].sizes) == 1  # each of its elements becomes an image
    height, width = (1, 1) if is_vector else bottoms[0].sizes[-2:]
    if text := layer.text(9):
        return _evaluated(layer, text, bottoms)
    size_from_bottom = layer.integer(5)
    if size_from_bottom:
        if len(bottoms) < 2:
            raise layer.fault("bottoms", "one with the size to resize to", 1)
        return bottoms[1].size("h"), bottoms[1].size("w")
    if layer.integer(3) and layer.integer(4):
        return layer.integer(3), layer.integer(4)
    return _scaled(height, layer.number(1, 1.0)), _scaled(width, layer.number(2, 1.0))


def _scaled(size: int, factor: float) -> int:
    return int(np.float32(size) * np.float32(factor))  # ncnn's rounding


def _evaluated(layer: Layer, text: str, bottoms: Sequence[Blob]) -> tuple[int, int] | None:
    terms = evaluate_expression(layer, "size", text, bottoms)
    if len(terms) > 2:
        raise layer.fault("size", "width and height", repr(text))
    width, height = (*terms, bottoms[0].size("h"))[:2]
    return None if width is None or height is None else (height, width)


def _pixel_shuffle(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    channels, height, width = _image(layer, bottoms[0])
    factor = layer.integer(0, 1)
    if channels % factor**2:
        raise layer.fault("channels", f"a multiple of {factor**2}", channels)
    return [(channels // factor**2, height * factor, width * factor)]


def _reorg(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    channels, height, width = _image(layer, bottoms[0])
    factor = layer.integer(0, 1)
    return [(channels * factor**2, height // factor, width // factor)]


def _image(layer: Layer, bottom: Blob) -> Sizes:
    if len(bottom.sizes) != 3:
        raise layer.fault("the rank of its bottom", "3", list(bottom.sizes))
    return bottom.sizes


def _grid_sample(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    sizes, grid = bottoms[0].sizes, bottoms[1].sizes
    rank = len(sizes) - 1
    coordinates_first = layer.integer(3)
    axis, result = (0, grid[1:]) if coordinates_first else (-1, grid[:-1])
    if rank < 2 or len(grid) != len(sizes) or grid[axis] != rank:
        raise layer.fault("grid", f"{rank} numbers for each place", list(grid))
    return [(sizes[0], *result)]


RULES: Mapping[str, ShapeRule] = {
    "GridSample": _grid_sample,
    "Interp": _interp,
    "Padding": _padding,
    "PixelShuffle": _pixel_shuffle,
    "Reorg": _reorg,
}
