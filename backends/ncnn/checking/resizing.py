"""Layers that pad an image or change its resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from backends.ncnn.checking.blob import Blob, Rule, Sizes
from backends.ncnn.checking.expressions import evaluate
from backends.ncnn.checking.param import Layer

_REFLECT = 2


def _padding(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    sizes = blobs[0].sizes
    top, bottom, left, right, front, behind = (layer.whole(key) for key in (0, 1, 2, 3, 7, 8))
    inner = [(left, right), (top, bottom), (front, behind), (0, 0)]  # of rank 4 not the channels
    pads = inner[: len(sizes)][::-1]
    if layer.whole(4) == _REFLECT and any(
        max(pad) >= size for pad, size in zip(pads, sizes, strict=True)
    ):
        raise layer.fault("pads that reflect", f"less than {list(sizes)}", pads)
    found = tuple(a + size + b for (a, b), size in zip(pads, sizes, strict=True))
    if layer.whole(6) and layer.whole(6) < found[0]:
        raise layer.fault("values of channels", str(found[0]), layer.whole(6))
    return [found]


def _interp(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes | None]:
    sizes = blobs[0].sizes
    if len(sizes) == 4:
        raise layer.fault("the rank of its bottom", "1 to 3", 4)
    asked = _asked(layer, blobs)
    if asked is None:
        return [None]
    return [(sizes[0], asked[1]) if len(sizes) == 2 else (sizes[0], *asked)]


def _asked(layer: Layer, blobs: Sequence[Blob]) -> tuple[int, int] | None:
    """Height and width, or None where only ncnn can work them out."""
    flat = len(blobs[0].sizes) == 1  # each number of a list becomes an image
    height, width = (1, 1) if flat else blobs[0].sizes[-2:]
    if text := layer.text(9):
        return _evaluated(layer, text, blobs)
    if layer.whole(5):
        if len(blobs) < 2:
            raise layer.fault("bottoms", "one with the size to resize to", 1)
        return blobs[1].size("h"), blobs[1].size("w")
    if layer.whole(3) and layer.whole(4):
        return layer.whole(3), layer.whole(4)
    return _scaled(height, layer.number(1, 1.0)), _scaled(width, layer.number(2, 1.0))


def _scaled(size: int, factor: float) -> int:
    return int(np.float32(size) * np.float32(factor))


def _evaluated(layer: Layer, text: str, blobs: Sequence[Blob]) -> tuple[int, int] | None:
    try:
        terms = evaluate(text, blobs)
    except ValueError as error:
        raise layer.fault("size", str(error), repr(text)) from error
    width, height = (*terms, blobs[0].size("h"))[:2]
    if len(terms) > 2:
        raise layer.fault("size", "width and height", repr(text))
    return None if width is None or height is None else (height, width)


def _pixel_shuffle(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    channels, height, width = _image(layer, blobs[0])
    factor = layer.whole(0, 1)
    if channels % factor**2:
        raise layer.fault("channels", f"a multiple of {factor**2}", channels)
    return [(channels // factor**2, height * factor, width * factor)]


def _reorg(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    channels, height, width = _image(layer, blobs[0])
    factor = layer.whole(0, 1)
    return [(channels * factor**2, height // factor, width // factor)]


def _image(layer: Layer, blob: Blob) -> Sizes:
    if len(blob.sizes) != 3:
        raise layer.fault("the rank of its bottom", "3", list(blob.sizes))
    return blob.sizes


RULES: Mapping[str, Rule] = {
    "Interp": _interp,
    "Padding": _padding,
    "PixelShuffle": _pixel_shuffle,
    "Reorg": _reorg,
}
