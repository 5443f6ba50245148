"""Shapes of layers that move a window over a blob: convolution, pooling, unfold and fold.

The parameters of pnnx are by axis: width, height, depth. Sizes here go from the outermost axis to
the innermost: channels, depth, height, width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

from backends.ncnn.checking.blob import MAX_ELEMENTS, Blob, ShapeRule, Sizes
from backends.ncnn.checking.param import INT32, Layer

# parameter ids of width, height and depth in a convolution
_KERNEL, _DILATION, _STRIDE = (1, 11, 21), (2, 12, 22), (3, 13, 23)
_PAD_BEFORE, _PAD_AFTER = (4, 14, 24), (15, 16, 17)
_OUTPUT_PAD = (18, 19, 20)

# in pooling
_POOL_STRIDE, _POOL_PAD_BEFORE, _POOL_PAD_AFTER = (2, 12, 22), (3, 13, 23), (14, 15, 16)
_POOL_SIZE = (8, 18, 28)  # of the result of adaptive pooling
_SAME_SIZE = -233  # as such a size: that of the bottom
_CEIL_MODE, _SAME_PAD_MODE = 0, 2  # the last window may pass the end; ncnn computes the pads


@dataclass(frozen=True)
class _Window:
    """A window along one axis."""

    kernel: int
    stride: int
    before: int
    after: int
    dilation: int = 1

    @property
    def extent(self) -> int:
        """From the first element that it covers to the last."""
        return self.dilation * (self.kernel - 1) + 1

    def same_pad(self, size: int) -> int:
        """The padding that gives as many results as the stride leaves of the size."""
        return self.extent + (size - 1) // self.stride * self.stride - size


def _convolution(rank: int, layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    _check_rank(layer, bottoms[0], rank)
    windows = _convolution_windows(layer, rank)
    _check_weights(layer, bottoms, layer.integer(0), tuple(w.kernel for w in windows))
    sizes = _padded(layer, windows, bottoms[0], _has_same_pads(layer, windows))
    return [(layer.integer(0), *_positions(layer, windows, sizes))]


def _deconvolution(rank: int, layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    _check_rank(layer, bottoms[0], rank)
    channels, *sizes = bottoms[0].sizes
    windows = _convolution_windows(layer, rank)
    _check_weights(layer, bottoms, channels, tuple(w.kernel for w in windows))
    output_pads = _by_axis(layer, _OUTPUT_PAD, rank)[::-1]
    uncut = [
        (size - 1) * window.stride + window.extent + pad
        for size, window, pad in zip(sizes, windows, output_pads, strict=True)
    ]
    _check_memory(layer, layer.integer(0), uncut)
    cut = [size - w.before - w.after for size, w in zip(uncut, windows, strict=True)]
    return [(layer.integer(0), *cut)]


def _deformable(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    (top,) = _convolution(2, layer, bottoms[:1])
    elements = prod(_by_axis(layer, _KERNEL, 2))
    # the second bottom has two offsets for each element of the window, the third a mask
    for bottom, channels in zip(bottoms[1:], (2 * elements, elements), strict=False):
        if bottom.sizes != (channels, *top[1:]):
            raise layer.fault("offsets", str([channels, *top[1:]]), list(bottom.sizes))
    return [top]


def _check_weights(layer: Layer, bottoms: Sequence[Blob], outer: int, kernel: Sizes) -> None:
    """Weights for all inputs and outputs, in the file or as further bottoms."""
    inputs, outputs = bottoms[0].sizes[0], layer.integer(0)
    group = layer.integer(7, 1) if "DepthWise" in layer.kind else 1
    if inputs % group or outputs % group:
        raise layer.fault("groups", f"a divisor of {inputs} and {outputs}", group)
    count = outputs * (inputs // group) * prod(kernel)
    if count != layer.integer(6):
        raise layer.fault("weights", f"{count} for {inputs} channels", layer.integer(6))
    from_bottoms = layer.integer(28 if layer.kind.startswith("De") else 19)
    if len(bottoms) != 1 + (1 + layer.integer(5) if from_bottoms else 0):
        raise layer.fault("bottoms", "one for each of its weights", len(bottoms))
    for sizes in (blob.sizes for blob in bottoms[1:2]):
        if prod(sizes) != count or sizes[0] != outer or sizes[2:] != kernel:
            raise layer.fault("weights", f"{outer} x ... x {kernel}", list(sizes))
    for sizes in (blob.sizes for blob in bottoms[2:]):
        if prod(sizes) != outputs:
            raise layer.fault("biases", str(outputs), list(sizes))


def _pooling(rank: int, layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    _check_rank(layer, bottoms[0], rank)
    channels, pad_mode = bottoms[0].sizes[0], layer.integer(5)
    is_global, is_adaptive = layer.integer(4), layer.integer(7)
    if is_global:
        return [(channels,)]
    if is_adaptive:
        return [(channels, *_adaptive_sizes(layer, bottoms[0].sizes[1:]))]
    windows = _pooling_windows(layer, rank)
    sizes = _padded(layer, windows, bottoms[0], pad_mode >= _SAME_PAD_MODE)
    counts = _positions(layer, windows, sizes)
    if pad_mode == _CEIL_MODE:
        rests = [(size - w.extent) % w.stride for w, size in zip(windows, sizes, strict=True)]
        counts = [count + bool(rest) for count, rest in zip(counts, rests, strict=True)]
    return [(channels, *counts)]


def _adaptive_sizes(layer: Layer, sizes: Sizes) -> list[int]:
    params = _by_axis(layer, _POOL_SIZE, len(sizes))[::-1]
    results = [
        size if param == _SAME_SIZE else param for size, param in zip(sizes, params, strict=True)
    ]
    for size, result in zip(sizes, results, strict=True):
        if size * (result + 1) not in INT32:  # ncnn multiplies them to find a window's end
            raise layer.fault("the size of its result", f"less for {size}", result)
    return results


def _unfold(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    _check_rank(layer, bottoms[0], 2)
    windows = _convolution_windows(layer, 2)
    sizes = _padded(layer, windows, bottoms[0], _has_same_pads(layer, windows))
    elements = prod(window.kernel for window in windows)
    return [(bottoms[0].sizes[0] * elements, prod(_positions(layer, windows, sizes)))]


def _fold(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    _check_rank(layer, bottoms[0], 1)
    channels, columns = bottoms[0].sizes
    windows = _convolution_windows(layer, 2)
    elements = prod(window.kernel for window in windows)
    result = (channels // elements, *_by_axis(layer, (20, 21), 2)[::-1])
    sizes = _padded(layer, windows, Blob(result), same_pads=False)
    positions = prod(_positions(layer, windows, sizes))
    if columns != positions or channels % elements:
        expected = f"a multiple of {elements}, and {positions}"
        raise layer.fault("its bottom", expected, list(bottoms[0].sizes))
    return [result]


def _by_axis(layer: Layer, ids: Sequence[int], rank: int, default: int = 0) -> list[int]:
    """A parameter for each axis, the innermost first, whose value is the others' default."""
    innermost = layer.integer(ids[0], default)
    return [innermost, *(layer.integer(key, innermost) for key in ids[1:rank])]


def _convolution_windows(layer: Layer, rank: int) -> list[_Window]:
    """The windows of a convolution, from the outermost axis to the innermost."""
    before = _by_axis(layer, _PAD_BEFORE, rank)
    after = [layer.integer(key, pad) for key, pad in zip(_PAD_AFTER, before, strict=False)]
    lists = [
        _by_axis(layer, _KERNEL, rank),
        _by_axis(layer, _STRIDE, rank, 1),
        before,
        after,
        _by_axis(layer, _DILATION, rank, 1),
    ]
    return [_Window(*numbers) for numbers in zip(*lists, strict=True)][::-1]


def _pooling_windows(layer: Layer, rank: int) -> list[_Window]:
    before = _by_axis(layer, _POOL_PAD_BEFORE, rank)
    after = [layer.integer(key, pad) for key, pad in zip(_POOL_PAD_AFTER, before, strict=False)]
    kernel = _by_axis(layer, _KERNEL, rank)
    stride = _by_axis(layer, _POOL_STRIDE, rank, 1)
    if min(kernel) < 1:
        raise layer.fault("its window", "at least 1 long", min(kernel))
    lists = zip(kernel, stride, before, after, strict=True)
    return [_Window(*numbers) for numbers in lists][::-1]


def _has_same_pads(layer: Layer, windows: Sequence[_Window]) -> bool:
    """Whether ncnn computes the pads, which it does for all axes or for none.

    Raises:
        EngineError: for some.
    """
    pads = {pad for window in windows for pad in (window.before, window.after)}
    if min(pads) < 0 and len(pads) > 1:
        raise layer.fault("pads", "sizes, or one of -233 and -234", sorted(pads))
    return min(pads) < 0


def _padded(layer: Layer, windows: Sequence[_Window], blob: Blob, same_pads: bool) -> Sizes:
    """The sizes of all axes but the channels in the padded copy that ncnn makes.

    Raises:
        EngineError: the copy would be too large, or ncnn would pad some axes and crop others.
    """
    channels, *sizes = blob.sizes
    if same_pads:
        pads = [window.same_pad(size) for window, size in zip(windows, sizes, strict=True)]
        if max(pads) > 0 > min(pads):
            raise layer.fault("its window", "as long as its stride", [w.extent for w in windows])
        padded = [size + max(pad, 0) for size, pad in zip(sizes, pads, strict=True)]
    else:
        padded = [w.before + size + w.after for w, size in zip(windows, sizes, strict=True)]
    _check_memory(layer, channels, padded)
    return tuple(padded)


def _check_memory(layer: Layer, channels: int, sizes: Sequence[int]) -> None:
    """Bound the copy that ncnn makes in between."""
    if channels * prod(sizes) > MAX_ELEMENTS:
        shown = " x ".join(map(str, (channels, *sizes)))
        raise layer.fault("what it pads or cuts", f"at most {MAX_ELEMENTS} numbers", shown)


def _positions(layer: Layer, windows: Sequence[_Window], sizes: Sizes) -> list[int]:
    """The number of positions of the window along each axis.

    Raises:
        EngineError: it does not fit.
    """
    for window, size in zip(windows, sizes, strict=True):
        if window.extent > size:
            raise layer.fault("its window", f"at most {size} long", window.extent)
    return [(size - w.extent) // w.stride + 1 for w, size in zip(windows, sizes, strict=True)]


def _check_rank(layer: Layer, blob: Blob, rank: int) -> None:
    """Require an axis of channels and ``rank`` axes that the window moves along."""
    if len(blob.sizes) != rank + 1:
        raise layer.fault("the rank of its bottom", str(rank + 1), list(blob.sizes))


_RANKS = ((1, "1D"), (2, ""), (3, "3D"))

RULES: Mapping[str, ShapeRule] = {
    **{
        f"{word}{group}{name}": partial(rule, rank)
        for word, rule in (("Convolution", _convolution), ("Deconvolution", _deconvolution))
        for group in ("", "DepthWise")
        for rank, name in _RANKS
    },
    **{f"Pooling{name}": partial(_pooling, rank) for rank, name in _RANKS},
    "DeformableConv2D": _deformable,
    "Fold": _fold,
    "Unfold": _unfold,
}
