"""Layers that move a window over a blob."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

from backends.ncnn.checking.blob import Blob, Sizes
from backends.ncnn.checking.param import Layer

_KEPT = -233  # as the size of the result

# the ids of width, height and depth; a convolution's, and those of pooling where they differ
_KERNEL, _DILATION, _STRIDE = (1, 11, 21), (2, 12, 22), (3, 13, 23)
_BEFORE, _AFTER = (4, 14, 24), (15, 16, 17)
_POOL_STRIDE, _POOL_BEFORE, _POOL_AFTER = (2, 12, 22), (3, 13, 23), (14, 15, 16)


@dataclass(frozen=True)
class _Axis:
    """A window along one axis."""

    kernel: int
    stride: int
    before: int
    after: int
    dilation: int = 1

    @property
    def extent(self) -> int:
        return self.dilation * (self.kernel - 1) + 1

    def missing(self, size: int) -> int:
        """What has to be padded for as many results as the stride leaves of the size."""
        return self.extent + (size - 1) // self.stride * self.stride - size


def _along(layer: Layer, ids: Sequence[int], rank: int, default: int = 0) -> list[int]:
    """A parameter for each axis, the innermost first, which is the others' default."""
    first = layer.whole(ids[0], default)
    return [first, *(layer.whole(key, first) for key in ids[1:rank])]


def _axes(layer: Layer, rank: int) -> list[_Axis]:
    """The windows of a convolution, from the outermost axis on."""
    before = _along(layer, _BEFORE, rank)
    after = [layer.whole(key, pad) for key, pad in zip(_AFTER, before, strict=False)]
    lists = [
        _along(layer, _KERNEL, rank),
        _along(layer, _STRIDE, rank, 1),
        before,
        after,
        _along(layer, _DILATION, rank, 1),
    ]
    return [_Axis(*numbers) for numbers in zip(*lists, strict=True)][::-1]


def _steps(layer: Layer, axis: _Axis, padded: int) -> int:
    if axis.extent > padded:
        raise layer.fault("its window", f"at most {padded} long", axis.extent)
    return (padded - axis.extent) // axis.stride + 1


def _padded(layer: Layer, axes: Sequence[_Axis], sizes: Sizes, same: bool) -> Sizes:
    if same:
        missing = [axis.missing(size) for axis, size in zip(axes, sizes, strict=True)]
        if max(missing) > 0 > min(missing):
            raise layer.fault("its window", "as long as its stride", [a.extent for a in axes])
        return tuple(size + max(gap, 0) for size, gap in zip(sizes, missing, strict=True))
    return tuple(a.before + size + a.after for a, size in zip(axes, sizes, strict=True))


def _pads_itself(layer: Layer, axes: Sequence[_Axis]) -> bool:
    pads = {pad for axis in axes for pad in (axis.before, axis.after)}
    if min(pads) < 0 and len(pads) > 1:
        raise layer.fault("pads", "sizes, or one of -233 and -234", sorted(pads))
    return min(pads) < 0


def _split_channels(layer: Layer, blob: Blob, rank: int) -> tuple[int, Sizes]:
    if len(blob.sizes) != rank + 1:
        raise layer.fault("the rank of its bottom", str(rank + 1), list(blob.sizes))
    return blob.sizes[0], blob.sizes[1:]


def _check_weights(
    layer: Layer, blobs: Sequence[Blob], taken: int, window: Sizes, outer: int
) -> None:
    """Weights for all inputs and outputs, of the file, or as blobs where there are others."""
    group = layer.whole(7, 1) if "DepthWise" in layer.kind else 1
    outputs = layer.whole(0)
    if taken % group or outputs % group:
        raise layer.fault("groups", f"a divisor of {taken} and {outputs}", group)
    expected = outputs * (taken // group) * prod(window)
    if expected != layer.whole(6):
        raise layer.fault("weights", f"{expected} for {taken} channels", layer.whole(6))
    dynamic = layer.whole(28 if layer.kind.startswith("De") else 19)
    if len(blobs) != 1 + (1 + layer.whole(5) if dynamic else 0):
        raise layer.fault("bottoms", "one for each of its weights", len(blobs))
    for blob in blobs[1:2]:
        if blob.total != expected or blob.sizes[0] != outer or blob.sizes[2:] != window:
            raise layer.fault("weights", f"{outer} x ... x {window}", list(blob.sizes))
    for blob in blobs[2:]:
        if blob.total != outputs:
            raise layer.fault("biases", str(outputs), list(blob.sizes))


def _convolution(rank: int, layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    channels, sizes = _split_channels(layer, blobs[0], rank)
    axes = _axes(layer, rank)
    _check_weights(layer, blobs, channels, tuple(a.kernel for a in axes), layer.whole(0))
    padded = _padded(layer, axes, sizes, _pads_itself(layer, axes))
    steps = [_steps(layer, axis, size) for axis, size in zip(axes, padded, strict=True)]
    return [(layer.whole(0), *steps)]


def _deconvolution(rank: int, layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    channels, sizes = _split_channels(layer, blobs[0], rank)
    axes = _axes(layer, rank)
    _check_weights(layer, blobs, channels, tuple(a.kernel for a in axes), channels)
    more = _along(layer, (18, 19, 20), rank)[::-1]
    found = [
        (size - 1) * axis.stride + axis.extent + extra - axis.before - axis.after
        for size, axis, extra in zip(sizes, axes, more, strict=True)
    ]
    return [(layer.whole(0), *found)]


def _deformable(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    (top,) = _convolution(2, layer, blobs[:1])
    window = prod(_along(layer, _KERNEL, 2))
    for blob, channels in zip(blobs[1:], (2 * window, window), strict=False):
        if blob.sizes != (channels, *top[1:]):
            raise layer.fault("offsets", str([channels, *top[1:]]), list(blob.sizes))
    return [top]


def _pooling(rank: int, layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    channels, sizes = _split_channels(layer, blobs[0], rank)
    if layer.whole(4):
        return [(channels,)]
    if layer.whole(7):
        asked = _along(layer, (8, 18, 28), rank)[::-1]
        kept = [size if ask == _KEPT else ask for size, ask in zip(sizes, asked, strict=True)]
        return [(channels, *kept)]
    before = _along(layer, _POOL_BEFORE, rank)
    after = [layer.whole(key, pad) for key, pad in zip(_POOL_AFTER, before, strict=False)]
    kernel, stride = _along(layer, _KERNEL, rank), _along(layer, _POOL_STRIDE, rank, 1)
    if min(kernel) < 1:
        raise layer.fault("its window", "at least 1 long", min(kernel))
    axes = [_Axis(*numbers) for numbers in zip(kernel, stride, before, after, strict=True)][::-1]
    mode = layer.whole(5)
    padded = _padded(layer, axes, sizes, mode >= 2)
    steps = [_steps(layer, axis, size) for axis, size in zip(axes, padded, strict=True)]
    if mode == 0:  # the last window may begin inside and end beyond
        rest = [(size - a.extent) % a.stride for a, size in zip(axes, padded, strict=True)]
        steps = [count + bool(left) for count, left in zip(steps, rest, strict=True)]
    return [(channels, *steps)]


def _unfold(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    channels, sizes = _split_channels(layer, blobs[0], 2)
    axes = _axes(layer, 2)
    padded = _padded(layer, axes, sizes, _pads_itself(layer, axes))
    steps = [_steps(layer, axis, size) for axis, size in zip(axes, padded, strict=True)]
    return [(channels * prod(axis.kernel for axis in axes), prod(steps))]


def _fold(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    channels, sizes = _split_channels(layer, blobs[0], 1)
    axes, result = _axes(layer, 2), tuple(_along(layer, (20, 21), 2)[::-1])
    padded = _padded(layer, axes, result, same=False)
    steps = [_steps(layer, axis, size) for axis, size in zip(axes, padded, strict=True)]
    window = prod(axis.kernel for axis in axes)
    if sizes != (prod(steps),) or channels % window:
        expected = f"a multiple of {window}, and {prod(steps)}"
        raise layer.fault("its bottom", expected, list(blobs[0].sizes))
    return [(channels // window, *result)]


Rule = Callable[[Layer, Sequence[Blob]], Sequence[Sizes | None]]
RULES: Mapping[str, Rule] = {
    **{
        f"{kind}{rank}D".removesuffix("2D"): partial(rule, rank)
        for rank in (1, 2, 3)
        for kind, rule in (
            ("Convolution", _convolution),
            ("ConvolutionDepthWise", _convolution),
            ("Deconvolution", _deconvolution),
            ("DeconvolutionDepthWise", _deconvolution),
            ("Pooling", _pooling),
        )
    },
    "DeformableConv2D": _deformable,
    "Fold": _fold,
    "Unfold": _unfold,
}
