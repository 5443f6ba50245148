"""Convolutions, and what is their opposite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod

from backends.ncnn.checking.blob import Blob, Rule, Sizes
from backends.ncnn.checking.param import Layer
from backends.ncnn.checking.windows import (
    KERNEL,
    along,
    axes_of,
    check_rank,
    check_room,
    padded,
    pads_itself,
    steps,
)


def _check_weights(layer: Layer, blobs: Sequence[Blob], outer: int, window: Sizes) -> None:
    """Weights for all inputs and outputs, of the file, or as blobs where there are others."""
    taken, outputs = blobs[0].sizes[0], layer.whole(0)
    group = layer.whole(7, 1) if "DepthWise" in layer.kind else 1
    if taken % group or outputs % group:
        raise layer.fault("groups", f"a divisor of {taken} and {outputs}", group)
    expected = outputs * (taken // group) * prod(window)
    if expected != layer.whole(6):
        raise layer.fault("weights", f"{expected} for {taken} channels", layer.whole(6))
    dynamic = layer.whole(28 if layer.kind.startswith("De") else 19)
    if len(blobs) != 1 + (1 + layer.whole(5) if dynamic else 0):
        raise layer.fault("bottoms", "one for each of its weights", len(blobs))
    for sizes in (blob.sizes for blob in blobs[1:2]):
        if prod(sizes) != expected or sizes[0] != outer or sizes[2:] != window:
            raise layer.fault("weights", f"{outer} x ... x {window}", list(sizes))
    for sizes in (blob.sizes for blob in blobs[2:]):
        if prod(sizes) != outputs:
            raise layer.fault("biases", str(outputs), list(sizes))


def _convolution(rank: int, layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    check_rank(layer, blobs[0], rank)
    axes = axes_of(layer, rank)
    _check_weights(layer, blobs, layer.whole(0), tuple(axis.kernel for axis in axes))
    sizes = padded(layer, axes, blobs[0], pads_itself(layer, axes))
    return [(layer.whole(0), *steps(layer, axes, sizes))]


def _deconvolution(rank: int, layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    check_rank(layer, blobs[0], rank)
    channels, *sizes = blobs[0].sizes
    axes = axes_of(layer, rank)
    _check_weights(layer, blobs, channels, tuple(axis.kernel for axis in axes))
    more = along(layer, (18, 19, 20), rank)[::-1]
    whole = [
        (size - 1) * axis.stride + axis.extent + extra
        for size, axis, extra in zip(sizes, axes, more, strict=True)
    ]
    check_room(layer, layer.whole(0), whole)
    cut = [size - a.before - a.after for size, a in zip(whole, axes, strict=True)]
    return [(layer.whole(0), *cut)]


def _deformable(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    (top,) = _convolution(2, layer, blobs[:1])
    window = prod(along(layer, KERNEL, 2))
    for blob, channels in zip(blobs[1:], (2 * window, window), strict=False):
        if blob.sizes != (channels, *top[1:]):
            raise layer.fault("offsets", str([channels, *top[1:]]), list(blob.sizes))
    return [top]


RULES: Mapping[str, Rule] = {
    **{
        f"{word}{group}{name}": partial(rule, rank)
        for word, rule in (("Convolution", _convolution), ("Deconvolution", _deconvolution))
        for group in ("", "DepthWise")
        for rank, name in ((1, "1D"), (2, ""), (3, "3D"))
    },
    "DeformableConv2D": _deformable,
}
