"""Pooling, and what lays windows beside each other or puts them together again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod

from backends.ncnn.checking.blob import Blob, Rule, Sizes
from backends.ncnn.checking.param import INTS, Layer
from backends.ncnn.checking.windows import (
    KERNEL,
    Axis,
    along,
    axes_of,
    check_rank,
    padded,
    pads_itself,
    steps,
)

_STRIDE, _BEFORE, _AFTER = (2, 12, 22), (3, 13, 23), (14, 15, 16)


_KEPT = -233  # as the size of the result


_BEYOND, _ITSELF = 0, 2  # the last window may end beyond the pads; ncnn works out the pads


def _pooling(rank: int, layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    check_rank(layer, blobs[0], rank)
    channels, mode = blobs[0].sizes[0], layer.whole(5)
    if layer.whole(4):
        return [(channels,)]
    if layer.whole(7):
        return [(channels, *_adapted(layer, blobs[0].sizes[1:]))]
    axes = _axes(layer, rank)
    sizes = padded(layer, axes, blobs[0], mode >= _ITSELF)
    found = steps(layer, axes, sizes)
    if mode == _BEYOND:
        rest = [(size - a.extent) % a.stride for a, size in zip(axes, sizes, strict=True)]
        found = [count + bool(left) for count, left in zip(found, rest, strict=True)]
    return [(channels, *found)]


def _adapted(layer: Layer, sizes: Sizes) -> list[int]:
    asked = along(layer, (8, 18, 28), len(sizes))[::-1]
    found = [size if ask == _KEPT else ask for size, ask in zip(sizes, asked, strict=True)]
    for size, ask in zip(sizes, found, strict=True):
        if size * (ask + 1) not in INTS:  # which ncnn divides to find a window's ends
            raise layer.fault("the size of its result", f"less for {size}", ask)
    return found


def _axes(layer: Layer, rank: int) -> list[Axis]:
    before = along(layer, _BEFORE, rank)
    after = [layer.whole(key, pad) for key, pad in zip(_AFTER, before, strict=False)]
    kernel, stride = along(layer, KERNEL, rank), along(layer, _STRIDE, rank, 1)
    if min(kernel) < 1:
        raise layer.fault("its window", "at least 1 long", min(kernel))
    return [Axis(*numbers) for numbers in zip(kernel, stride, before, after, strict=True)][::-1]


def _unfold(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    check_rank(layer, blobs[0], 2)
    axes = axes_of(layer, 2)
    sizes = padded(layer, axes, blobs[0], pads_itself(layer, axes))
    window = prod(axis.kernel for axis in axes)
    return [(blobs[0].sizes[0] * window, prod(steps(layer, axes, sizes)))]


def _fold(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    check_rank(layer, blobs[0], 1)
    channels, size = blobs[0].sizes
    axes = axes_of(layer, 2)
    window = prod(axis.kernel for axis in axes)
    result = (channels // window, *along(layer, (20, 21), 2)[::-1])
    count = prod(steps(layer, axes, padded(layer, axes, Blob(result), itself=False)))
    if size != count or channels % window:
        expected = f"a multiple of {window}, and {count}"
        raise layer.fault("its bottom", expected, list(blobs[0].sizes))
    return [result]


RULES: Mapping[str, Rule] = {
    **{f"Pooling{name}": partial(_pooling, rank) for rank, name in ((1, "1D"), (2, ""), (3, "3D"))},
    "Fold": _fold,
    "Unfold": _unfold,
}
