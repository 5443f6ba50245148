"""Shapes of layers that work element by element, channel by channel or along an axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod

from backends.ncnn.checking.blob import Blob, ShapeRule, Sizes, axis_or_only, positive_axis
from backends.ncnn.checking.param import Layer

_SCALE_FROM_BOTTOM = -233

_UNARY = """
AbsVal BNLL CELU Clip DeepCopy Dropout ELU Erf Exp GELU HardSigmoid HardSwish Log MVN Mish Power
ReLU SELU Shrink Sigmoid Softplus Swish TanH Threshold UnaryOp
"""


def _unary(_: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    return [bottoms[0].sizes]


def _binary(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    with_scalar = layer.integer(1)
    if with_scalar:
        return [bottoms[0].sizes]
    if len(bottoms) != 2:
        raise layer.fault("bottoms", "2", len(bottoms))
    first, second = (blob.sizes for blob in bottoms)
    pairs = [*zip(_broadcast(first, second), _broadcast(second, first), strict=True)]
    if any(a != b and 1 not in (a, b) for a, b in pairs):
        raise layer.fault("sizes", f"some that go with {list(first)}", list(second))
    return [tuple(map(max, pairs))]


def _broadcast(sizes: Sizes, other: Sizes) -> Sizes:
    """With the axes that ``other`` has more.

    ncnn adds them behind, except for a vector that is not as long as the other's outermost axis.
    """
    added = (1,) * (len(other) - len(sizes))
    if len(sizes) == 1 and added and sizes[0] != other[0]:
        return (*added, *sizes)
    return (*sizes, *added)


def _eltwise(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    sizes = {blob.sizes for blob in bottoms}
    factors = layer.params.get(1, ())
    if len(sizes) > 1 or (isinstance(factors, tuple) and len(factors) not in (0, len(bottoms))):
        raise layer.fault("sizes and factors", f"{len(bottoms)} of one size", sorted(sizes))
    return [bottoms[0].sizes]


def _per_channel(key: int, layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    """One weight for each channel, which is the outermost axis."""
    if layer.integer(key) != bottoms[0].sizes[0]:
        raise layer.fault("channels", str(bottoms[0].sizes[0]), layer.integer(key))
    return [bottoms[0].sizes]


def _prelu(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    return _unary(layer, bottoms) if layer.integer(0) == 1 else _per_channel(0, layer, bottoms)


def _scale(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    from_bottom = layer.integer(0) == _SCALE_FROM_BOTTOM
    has_bias = layer.integer(1)
    if len(bottoms) != 1 + from_bottom or (from_bottom and has_bias):
        raise layer.fault("bottoms", str(1 + from_bottom), len(bottoms))
    count = prod(bottoms[1].sizes) if from_bottom else layer.integer(0)
    if count != bottoms[0].sizes[0]:
        raise layer.fault("channels", str(bottoms[0].sizes[0]), count)
    return [bottoms[0].sizes]


def _group_norm(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    channels, group = layer.integer(1), layer.integer(0, 1)
    if channels % group:
        raise layer.fault("groups", f"a divisor of {channels}", group)
    return _per_channel(1, layer, bottoms)


def _instance_norm(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    has_weights = layer.integer(2, 1)
    if has_weights and layer.integer(0) < bottoms[0].size("c"):
        raise layer.fault("channels", str(bottoms[0].size("c")), layer.integer(0))
    return [bottoms[0].sizes]


def _layer_norm(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    """Over inner axes.

    For any other number of weights ncnn goes over whole channels, and reads as many weights as a
    channel has elements.
    """
    sizes, count, has_weights = bottoms[0].sizes, layer.integer(0), layer.integer(2, 1)
    channel = prod(sizes[1:]) if len(sizes) > 2 else sizes[-1]
    inner = [prod(sizes[-axes:]) for axes in range(1, max(len(sizes), 2))]
    if has_weights and count not in inner and count < channel:
        raise layer.fault("the size of its weights", " or ".join(map(str, inner)), count)
    return [sizes]


def _normalize(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    shares_scale = layer.integer(1)
    if not shares_scale and layer.integer(3) < bottoms[0].size("c"):
        raise layer.fault("channels", str(bottoms[0].size("c")), layer.integer(3))
    return [bottoms[0].sizes]


def _lrn(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    _check_not_4d(layer, bottoms[0])
    return [bottoms[0].sizes]


def _shuffle_channel(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    sizes, group = bottoms[0].sizes, layer.integer(0, 1)
    if len(sizes) < 3 or sizes[0] % group:
        raise layer.fault("groups", f"a divisor of the channels of {list(sizes)}", group)
    return [sizes]


def _along_axis(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    axis_or_only(layer, layer.integer(0), len(bottoms[0].sizes))
    return [bottoms[0].sizes]


def _flip(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    for axis in layer.integers(0):
        positive_axis(layer, axis, len(bottoms[0].sizes))
    return [bottoms[0].sizes]


def _glu(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    sizes = bottoms[0].sizes
    axis = axis_or_only(layer, layer.integer(0), len(sizes))
    _check_not_4d(layer, bottoms[0])
    return [(*sizes[:axis], sizes[axis] // 2, *sizes[axis + 1 :])]


def _check_not_4d(layer: Layer, bottom: Blob) -> None:
    if len(bottom.sizes) > 3:
        raise layer.fault("the rank of its bottom", "1 to 3", 4)


def _reduction(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    sizes = bottoms[0].sizes
    axes = {positive_axis(layer, axis, len(sizes)) for axis in layer.integers(3)}
    reduces_all, keeps_axes = layer.integer(1, 1), layer.integer(4)
    if reduces_all or len(sizes) == 1:
        axes = set(range(len(sizes)))
    if keeps_axes:
        return [tuple(1 if axis in axes else size for axis, size in enumerate(sizes))]
    return [tuple(size for axis, size in enumerate(sizes) if axis not in axes) or (1,)]


def _spectrogram(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    length, pad_mode = _fft_length(layer), layer.integer(6, 2)
    (size,) = bottoms[0].sizes if len(bottoms[0].sizes) == 1 else (0,)
    is_centered, gives_power = layer.integer(5, 1), layer.integer(1)
    is_one_sided = layer.integer(8, 1)
    if is_centered:
        cannot_reflect = pad_mode == 2 and length // 2 >= size
        size = 0 if cannot_reflect else size + length // 2 * 2
    hop = layer.integer(2, max(length // 4, 1))
    frames = (size - length) // hop + 1 if size >= length else 0
    frequencies = length // 2 + 1 if is_one_sided else length
    return [(frequencies, frames) if gives_power else (frequencies, frames, 2)]


def _inverse_spectrogram(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    length, sizes = _fft_length(layer), bottoms[0].sizes
    if len(sizes) != 3 or sizes[0] not in (length, length // 2 + 1) or sizes[2] != 2:
        raise layer.fault("its bottom", f"{length} frequencies of two parts", list(sizes))
    is_centered, gives_real = layer.integer(5, 1), layer.integer(1)
    hops = (sizes[1] - 1) * layer.integer(2, max(length // 4, 1))
    size = hops + (length % 2 if is_centered else length)
    return [(size,) if gives_real else (size, 2)]


def _fft_length(layer: Layer) -> int:
    length = layer.integer(0)
    window = layer.integer(3, length)
    default_hop_is_zero = 2 not in layer.params and length < 4
    if window > length or default_hop_is_zero:
        raise layer.fault("its window", f"at most {length}", window)
    return length


RULES: Mapping[str, ShapeRule] = {
    **dict.fromkeys(_UNARY.split(), _unary),
    "BatchNorm": partial(_per_channel, 0),
    "Bias": partial(_per_channel, 0),
    "BinaryOp": _binary,
    "CumulativeSum": _along_axis,
    "Eltwise": _eltwise,
    "Flip": _flip,
    "GLU": _glu,
    "GroupNorm": _group_norm,
    "InstanceNorm": _instance_norm,
    "InverseSpectrogram": _inverse_spectrogram,
    "LRN": _lrn,
    "LayerNorm": _layer_norm,
    "Normalize": _normalize,
    "PReLU": _prelu,
    "RMSNorm": _layer_norm,
    "Reduction": _reduction,
    "Scale": _scale,
    "ShuffleChannel": _shuffle_channel,
    "Softmax": _along_axis,
    "Spectrogram": _spectrogram,
}
