"""Layers that keep a blob's shape, or drop or halve an axis, and rely on its sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod

from backends.ncnn.checking.blob import Blob, Rule, Sizes
from backends.ncnn.checking.layouts import axis_in
from backends.ncnn.checking.param import Layer
from backends.ncnn.checking.parts import axis_of

_AS_BOTTOM = -233


def _memory(layer: Layer, _: Sequence[Blob]) -> list[Sizes]:
    width, height, depth, channels = (layer.whole(key) for key in (0, 1, 11, 2))
    if depth:
        return [(channels, depth, height, width)]
    if channels:
        return [(channels, height, width)]
    return [(height, width) if height else (width or 1,)]


def _of_channels(key: int, layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    """As many numbers as channels, which are the outermost axis."""
    if layer.whole(key) != blobs[0].sizes[0]:
        raise layer.fault("channels", str(blobs[0].sizes[0]), layer.whole(key))
    return [blobs[0].sizes]


def _prelu(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    return [blobs[0].sizes] if layer.whole(0) == 1 else _of_channels(0, layer, blobs)


def _scale(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    given = layer.whole(0) == _AS_BOTTOM
    if len(blobs) != 1 + given or layer.whole(1) > 1 - given:
        raise layer.fault("bottoms", str(1 + given), len(blobs))
    count = prod(blobs[1].sizes) if given else layer.whole(0)
    if count != blobs[0].sizes[0]:
        raise layer.fault("channels", str(blobs[0].sizes[0]), count)
    return [blobs[0].sizes]


def _group_norm(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    channels, group = layer.whole(1), layer.whole(0, 1)
    if channels % group:
        raise layer.fault("groups", f"a divisor of {channels}", group)
    return _of_channels(1, layer, blobs)


def _instance_norm(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    if layer.whole(2, 1) and layer.whole(0) < blobs[0].size("c"):
        raise layer.fault("channels", str(blobs[0].size("c")), layer.whole(0))
    return [blobs[0].sizes]


def _inner_norm(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    """Over the innermost axis; or over all but the channels, if it has enough numbers for that."""
    sizes, count = blobs[0].sizes, layer.whole(0)
    whole = prod(sizes[1:]) if len(sizes) > 2 else sizes[-1]
    inner = [prod(sizes[-axes:]) for axes in range(1, max(len(sizes), 2))]
    if layer.whole(2, 1) and count not in inner and count < whole:
        raise layer.fault("the size of its weights", " or ".join(map(str, inner)), count)
    return [sizes]


def _normalize(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    if not layer.whole(1) and layer.whole(3) < blobs[0].size("c"):
        raise layer.fault("channels", str(blobs[0].size("c")), layer.whole(3))
    return [blobs[0].sizes]


def _lrn(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    if len(blobs[0].sizes) > 3:
        raise layer.fault("the rank of its bottom", "1 to 3", 4)
    return [blobs[0].sizes]


def _shuffle(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    sizes, group = blobs[0].sizes, layer.whole(0, 1)
    if len(sizes) < 3 or sizes[0] % group:
        raise layer.fault("groups", f"a divisor of the channels of {list(sizes)}", group)
    return [sizes]


def _along(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    axis_of(layer, layer.whole(0), len(blobs[0].sizes))
    return [blobs[0].sizes]


def _flip(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    for axis in layer.wholes(0):
        axis_in(layer, axis, len(blobs[0].sizes))
    return [blobs[0].sizes]


def _glu(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    sizes = blobs[0].sizes
    axis = axis_of(layer, layer.whole(0), len(sizes))
    if len(sizes) > 3:
        raise layer.fault("the rank of its bottom", "1 to 3", 4)
    return [(*sizes[:axis], sizes[axis] // 2, *sizes[axis + 1 :])]


def _reduction(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    sizes = blobs[0].sizes
    axes = {axis_in(layer, axis, len(sizes)) for axis in layer.wholes(3)}
    if layer.whole(1, 1) or len(sizes) == 1:
        axes = set(range(len(sizes)))
    if layer.whole(4):
        return [tuple(1 if at in axes else size for at, size in enumerate(sizes))]
    return [tuple(size for at, size in enumerate(sizes) if at not in axes) or (1,)]


def _diag(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    sizes, off = blobs[0].sizes, layer.whole(0)
    if len(sizes) == 1:
        return [(sizes[0] + abs(off),) * 2]
    if len(sizes) > 2:
        raise layer.fault("the rank of its bottom", "1 or 2", len(sizes))
    return [(min(sizes[0] - max(-off, 0), sizes[1] - max(off, 0), *sizes),)]


def _spectrogram(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    length, pad = _length(layer), layer.whole(6, 2)
    (size,) = blobs[0].sizes if len(blobs[0].sizes) == 1 else (0,)
    if layer.whole(5, 1):
        size = 0 if pad == 2 and length // 2 >= size else size + length // 2 * 2
    frames = (size - length) // layer.whole(2, max(length // 4, 1)) + 1 if size >= length else 0
    frequencies = length // 2 + 1 if layer.whole(8, 1) else length
    return [(frequencies, frames) if layer.whole(1) else (frequencies, frames, 2)]


def _inverse_spectrogram(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    length, sizes = _length(layer), blobs[0].sizes
    if len(sizes) != 3 or sizes[0] not in (length, length // 2 + 1) or sizes[2] != 2:
        raise layer.fault("its bottom", f"{length} frequencies of two parts", list(sizes))
    steps = (sizes[1] - 1) * layer.whole(2, max(length // 4, 1))
    size = steps + (length % 2 if layer.whole(5, 1) else length)
    return [(size,) if layer.whole(1) else (size, 2)]


def _length(layer: Layer) -> int:
    length = layer.whole(0)
    if layer.whole(3, length) > length or (2 not in layer.params and length < 4):
        raise layer.fault("its window", f"at most {length}", layer.whole(3, length))
    return length


RULES: Mapping[str, Rule] = {
    "BatchNorm": partial(_of_channels, 0),
    "Bias": partial(_of_channels, 0),
    "CumulativeSum": _along,
    "Diag": _diag,
    "Flip": _flip,
    "GLU": _glu,
    "GroupNorm": _group_norm,
    "InstanceNorm": _instance_norm,
    "InverseSpectrogram": _inverse_spectrogram,
    "LRN": _lrn,
    "LayerNorm": _inner_norm,
    "MemoryData": _memory,
    "Normalize": _normalize,
    "PReLU": _prelu,
    "RMSNorm": _inner_norm,
    "Reduction": _reduction,
    "Scale": _scale,
    "ShuffleChannel": _shuffle,
    "Softmax": _along,
    "Spectrogram": _spectrogram,
}
