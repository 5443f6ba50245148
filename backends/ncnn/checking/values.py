"""The values that a layer's parameters may have, so that ncnn's arithmetic on them is safe.

What pnnx writes is in the table. A kind or a parameter that is not there may be of a later ncnn:
its integers are bounded all the same, but for those with a meaning of their own in ncnn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from backends.ncnn.checking.bounds import Bound, Number, Several, Text, Whole
from backends.ncnn.checking.param import Layer, Value

_MOST = (1 << 31) - 1


_LARGE = 1 << 24


_SPAN = 1 << 16  # of a kernel, a stride, a dilation or a pad


_SENTINELS = (_MOST, -_MOST - 1, -233, -234, 233)


_HINTS = 30  # sizes of tops, which ncnn would believe


_MASK = 31  # what a layer shall not use; ncnn reads it itself


def _must(bound: Bound) -> Bound:
    return replace(bound, required=True)


_NONE, _FLAG, _CODE = Whole(0, 0), Whole(0, 1), Whole(0, 63)


_SIZE, _SIDE, _ANY = Whole(1, _MOST), Whole(1, _LARGE), Whole(-_MOST - 1, _MOST)


_KERNEL, _PAD, _SAME = Whole(1, _SPAN), Whole(0, _SPAN), Whole(0, _SPAN, (-233, -234))


_AXIS = Whole(-4, 3)


_AXES = Several(_AXIS, 4)


_REAL, _SCALE = Number(), Number(0, _SPAN)


_OFFSET, _OUT = Whole(0, _LARGE), Whole(0, _LARGE, (-233,))


_ACTIVATION: Mapping[int, Bound] = {9: Whole(0, 6), 10: Several(_REAL, 4)}


_NUMBERS = {2: 1, 3: 2, 6: 2}  # that an activation takes: a slope, two bounds, two factors


_WINDOW: Mapping[int, Bound] = {
    **dict.fromkeys((11, 21, 2, 12, 22, 3, 13, 23), _KERNEL),
    **dict.fromkeys((4, 14, 15, 16, 17, 24), _SAME),
    1: _must(_KERNEL),
}


_WEIGHTED: Mapping[int, Bound] = {
    **_WINDOW,
    **_ACTIVATION,
    0: _must(_SIDE),
    5: _FLAG,
    6: _must(_SIZE),
    7: _SIDE,
    8: _NONE,  # int8, which the engine is told not to use
}


_CONVOLUTION = {**_WEIGHTED, 18: _REAL, 19: _FLAG}


_DECONVOLUTION = {
    **_WEIGHTED,
    **dict.fromkeys((4, 14, 15, 16, 17, 24, 18, 19), _PAD),
    **dict.fromkeys((20, 21, 25, 26, 27), _NONE),  # the size of the result
    28: _FLAG,
}


_IN_SPACE: Mapping[str, Mapping[int, Bound]] = {  # where all weights are in the file
    "Convolution": {19: _NONE},
    "Deconvolution": {20: _PAD, 21: _KERNEL, 28: _NONE},
}


_POOLING: Mapping[int, Bound] = {
    **dict.fromkeys((1, 11, 21, 2, 12, 22), _KERNEL),
    **dict.fromkeys((3, 13, 14, 15, 16, 23), _PAD),
    **dict.fromkeys((0, 4, 6, 7), _FLAG),
    **dict.fromkeys((8, 18, 28), Whole(1, _LARGE, (-233,))),
    5: Whole(0, 3),
}


_NORM: Mapping[int, Bound] = {0: _must(_SIDE), 1: _REAL, 2: _FLAG}


_RECURRENT: Mapping[int, Bound] = {0: _must(_SIDE), 1: _must(_SIZE), 2: Whole(0, 2), 8: _NONE}


_CACHED: Mapping[int, Bound] = {5: _FLAG, 6: _REAL, 7: _NONE, 18: _NONE}


_SPECTRUM: Mapping[int, Bound] = {
    0: _must(_KERNEL),
    **dict.fromkeys((1, 5, 8), _FLAG),
    **dict.fromkeys((2, 3), _KERNEL),
    **dict.fromkeys((4, 6, 7), Whole(0, 2)),
}


_FOUR_SIDES: Mapping[int, Bound] = dict.fromkeys((0, 1, 2, 11), Whole(0, _MOST))


_TABLE: Mapping[str, Mapping[int, Bound]] = {
    "BatchNorm": {0: _must(_SIDE), 1: _REAL},
    "BinaryOp": {0: _CODE, 1: _FLAG, 2: _REAL},
    "Concat": {0: _AXIS},
    "CopyTo": {**dict.fromkeys((0, 1, 2, 13), _OFFSET), 9: Several(_ANY, 4), 11: _AXES},
    "Crop": {
        **dict.fromkeys((0, 1, 2, 6, 7, 8, 13, 15), _OFFSET),
        **dict.fromkeys((3, 4, 5, 14), _OUT),
        **dict.fromkeys((9, 10), Several(_ANY, 4)),
        **dict.fromkeys((19, 20, 21), Text()),
        11: _AXES,
    },
    "CumulativeSum": {0: _AXIS},
    "DeformableConv2D": {**_WEIGHTED, **dict.fromkeys((4, 14, 15, 16), _PAD)},
    "Diag": {0: Whole(-_SPAN, _SPAN)},
    "Einsum": {0: _must(Several(Whole(0, 127), 256))},
    "Eltwise": {0: Whole(0, 2), 1: Several(_REAL)},
    "Embed": {0: _must(_SIDE), 1: _must(_SIZE), 2: _FLAG, 3: _must(_SIZE), 18: _NONE},
    "ExpandDims": {3: _must(_AXES)},
    "Flip": {0: _AXES},
    "Fold": {**_WINDOW, **dict.fromkeys((4, 14, 15, 16), _PAD), 20: _must(_SIDE), 21: _SIDE},
    "GLU": {0: _AXIS},
    "GRU": _RECURRENT,
    "Gemm": {
        **dict.fromkeys((0, 1), _REAL),
        **dict.fromkeys((2, 3, 4, 5, 6, 11, 12, 13, 14), _FLAG),
        **dict.fromkeys((7, 8, 9), _OFFSET),
        10: Whole(-1, 4),
        **dict.fromkeys((18, 20, 21, 22), _NONE),
    },
    "GridSample": {0: Whole(1, 3), 1: Whole(1, 3), 2: _FLAG, 3: _FLAG},
    "GroupNorm": {0: _SIDE, 1: _must(_SIDE), 2: _REAL, 3: _FLAG},
    "InnerProduct": {**_ACTIVATION, 0: _must(_SIDE), 1: _FLAG, 2: _must(_SIZE), 8: _NONE},
    "Input": _FOUR_SIDES,
    "InstanceNorm": _NORM,
    "Interp": {
        0: Whole(0, 3),
        **dict.fromkeys((1, 2), _SCALE),
        **dict.fromkeys((3, 4), _OFFSET),
        5: _FLAG,
        6: _FLAG,
        9: Text(),
    },
    "InverseSpectrogram": _SPECTRUM,
    "LRN": {0: _FLAG, 1: Whole(1, 1 << 10), **dict.fromkeys((2, 3, 4), _REAL)},
    "LSTM": {**_RECURRENT, 3: _SIDE},
    "LayerNorm": _NORM,
    "MatMul": {0: _FLAG},
    "MemoryData": {**_FOUR_SIDES, 21: _FLAG},
    "MultiHeadAttention": {
        **_CACHED,
        **dict.fromkeys((1, 3, 4), _SIDE),
        0: _must(_SIDE),
        2: _must(_SIZE),
    },
    "Normalize": {**dict.fromkeys((0, 1, 4), _FLAG), 2: _REAL, 3: _must(_SIDE), 9: Whole(0, 2)},
    "PReLU": {0: _must(_SIDE)},
    "Padding": {**dict.fromkeys((0, 1, 2, 3, 6, 7, 8), _OFFSET), 4: Whole(0, 2), 5: _REAL},
    "Permute": {0: Whole(0, 23)},
    "PixelShuffle": {0: _KERNEL, 1: _FLAG},
    "RMSNorm": _NORM,
    "RNN": _RECURRENT,
    "Reduction": {0: _CODE, 1: _FLAG, 2: _REAL, 3: _AXES, 4: _FLAG, 5: _FLAG},
    "Reorg": {0: _KERNEL, 1: _FLAG},
    "Reshape": {
        **dict.fromkeys((0, 1, 2, 11), Whole(-1, _MOST, (-233,))),
        6: Text(),
        **dict.fromkeys((12, 13), Whole(-5, 4, (233,))),
    },
    "RotaryEmbed": {0: _FLAG},
    "SDPA": _CACHED,
    "Scale": {0: _must(Whole(1, _LARGE, (-233,))), 1: _FLAG},
    "ShuffleChannel": {0: _SIDE, 1: _FLAG},
    "Slice": {0: Several(Whole(1, _LARGE, (-233,))), 1: _AXIS, 2: Several(_ANY)},
    "Softmax": {0: _AXIS, 1: _FLAG},
    "Spectrogram": _SPECTRUM,
    "Squeeze": {**dict.fromkeys((0, 1, 2, 11), _FLAG), 3: _AXES},
    "Tile": {0: Whole(0, 3), 1: _SIDE, 2: Several(_SIDE, 4)},
    "UnaryOp": {0: _CODE},
    "Unfold": {**_WINDOW, 18: _REAL},
    **{
        f"{word}{group}{rank}": table if rank != "3D" else {**table, **_IN_SPACE[word]}
        for word, table in (("Convolution", _CONVOLUTION), ("Deconvolution", _DECONVOLUTION))
        for group in ("", "DepthWise")
        for rank in ("1D", "", "3D")
    },
    **{f"Pooling{rank}": _POOLING for rank in ("1D", "", "3D")},
}


_REQUIRED = {
    kind: [key for key, bound in bounds.items() if bound.required]
    for kind, bounds in _TABLE.items()
}


def check_values(layer: Layer) -> None:
    """Refuse parameters that no converter writes for this kind of layer.

    Raises:
        EngineError: a value of another type, beyond its bounds, or one that is missing.
    """
    bounds = _TABLE.get(layer.kind, {})
    for key, value in layer.params.items():
        bound = bounds.get(key)
        if bound is None:
            _check_unknown(layer, key, value)
        elif value not in bound:
            raise layer.fault(f"parameter {key}", str(bound), value)
    for key in _REQUIRED.get(layer.kind, ()):
        if key not in layer.params:
            raise layer.fault(f"parameter {key}", str(bounds[key]), "none")
    if bounds.get(9) is _ACTIVATION[9]:
        given, least = layer.params.get(10, ()), _NUMBERS.get(layer.whole(9), 0)
        count = len(given) if isinstance(given, tuple) else 0
        if count < least:
            raise layer.fault("numbers of its activation", str(least), count)


def _check_unknown(layer: Layer, key: int, value: Value) -> None:
    if key == _HINTS:
        raise layer.fault(f"parameter {key}", "no sizes of its tops", value)
    bound = Whole(0, 255) if key == _MASK else Whole(-_LARGE, _LARGE, _SENTINELS)
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, int) and item not in bound:
            raise layer.fault(f"parameter {key}", str(bound), item)
