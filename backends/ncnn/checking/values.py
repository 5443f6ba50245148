"""The values that a layer's parameters may have, so that ncnn's arithmetic on them is safe.

The table lists what pnnx writes. A kind or a parameter that is not in it may belong to a later
ncnn; its integers are bounded, except for the sentinels that ncnn knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from backends.ncnn.checking.param import Layer, Value


@dataclass(frozen=True)
class Integer:
    """Integers from ``low`` to ``high``, and those of ``also``."""

    low: int
    high: int
    also: tuple[int, ...] = ()
    required: bool = False

    def __contains__(self, value: object) -> bool:
        return type(value) is int and (self.low <= value <= self.high or value in self.also)

    def __str__(self) -> str:
        return " or ".join([f"{self.low} to {self.high}", *map(str, self.also)])


@dataclass(frozen=True)
class Real:
    """Floats above ``low``, at most ``high``; ncnn reads an integer's bits as a float near 0."""

    low: float = -float("inf")
    high: float = float("inf")
    required: bool = False

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float):
            return False
        return self.low < (value if isinstance(value, float) else 0.0) <= self.high

    def __str__(self) -> str:
        if self.low == -float("inf"):
            return "a number"
        return f"a number above {self.low:g}, at most {self.high:g}"


@dataclass(frozen=True)
class Array:
    """Arrays of at most ``max_length`` such values."""

    item: Integer | Real
    max_length: int = 1 << 12
    required: bool = False

    def __contains__(self, value: object) -> bool:
        return (
            isinstance(value, tuple)
            and len(value) <= self.max_length
            and all(item in self.item for item in value)
        )

    def __str__(self) -> str:
        return f"up to {self.max_length} times {self.item}"


@dataclass(frozen=True)
class Text:
    """Any text."""

    required: bool = False

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str)

    def __str__(self) -> str:
        return "a text"


Bound = Integer | Real | Array | Text

_INT_MAX = (1 << 31) - 1
_LARGE = 1 << 24
_MAX_SPAN = 1 << 16  # of a kernel, a stride, a dilation or a pad
_SENTINELS = (_INT_MAX, -_INT_MAX - 1, -233, -234, 233)  # integers with a meaning of their own
_TOP_SHAPES = 30  # parameter id: shapes of the tops, which ncnn would trust
_FEATURE_MASK = 31  # parameter id: features of the engine that a layer must not use


def _required(bound: Bound) -> Bound:
    return replace(bound, required=True)


_ZERO, _FLAG, _CODE = Integer(0, 0), Integer(0, 1), Integer(0, 63)
_COUNT, _SIDE = Integer(1, _INT_MAX), Integer(1, _LARGE)
_ANY_INTEGER = Integer(-_INT_MAX - 1, _INT_MAX)
_KERNEL, _PAD = Integer(1, _MAX_SPAN), Integer(0, _MAX_SPAN)
_CONV_PAD = Integer(0, _MAX_SPAN, (-233, -234))
_AXIS = Integer(-4, 3)
_AXES = Array(_AXIS, 4)
_ANY_REAL, _FACTOR = Real(), Real(0, _MAX_SPAN)
_OFFSET, _CROP_SIZE = Integer(0, _LARGE), Integer(0, _LARGE, (-233,))

_ACTIVATION: Mapping[int, Bound] = {9: Integer(0, 6), 10: Array(_ANY_REAL, 4)}
_ACTIVATION_PARAMS = {2: 1, 3: 2, 6: 2}  # how many by its code: a slope; two bounds; two factors

_WINDOW: Mapping[int, Bound] = {
    **dict.fromkeys((11, 21, 2, 12, 22, 3, 13, 23), _KERNEL),
    **dict.fromkeys((4, 14, 15, 16, 17, 24), _CONV_PAD),
    1: _required(_KERNEL),
}
_WEIGHTED: Mapping[int, Bound] = {
    **_WINDOW,
    **_ACTIVATION,
    0: _required(_SIDE),
    5: _FLAG,
    6: _required(_COUNT),
    7: _SIDE,
    8: _ZERO,  # int8, which the engine is set up not to use
}
_CONVOLUTION = {**_WEIGHTED, 18: _ANY_REAL, 19: _FLAG}
_DECONVOLUTION = {
    **_WEIGHTED,
    **dict.fromkeys((4, 14, 15, 16, 17, 24, 18, 19), _PAD),
    **dict.fromkeys((20, 21, 25, 26, 27), _ZERO),  # the size of the result
    28: _FLAG,
}
_3D: Mapping[str, Mapping[int, Bound]] = {  # all weights are in the file
    "Convolution": {19: _ZERO},
    "Deconvolution": {20: _PAD, 21: _KERNEL, 28: _ZERO},
}
_POOLING: Mapping[int, Bound] = {
    **dict.fromkeys((1, 11, 21, 2, 12, 22), _KERNEL),
    **dict.fromkeys((3, 13, 14, 15, 16, 23), _PAD),
    **dict.fromkeys((0, 4, 6, 7), _FLAG),
    **dict.fromkeys((8, 18, 28), Integer(1, _LARGE, (-233,))),
    5: Integer(0, 3),
}
_NORM: Mapping[int, Bound] = {0: _required(_SIDE), 1: _ANY_REAL, 2: _FLAG}
_RECURRENT: Mapping[int, Bound] = {
    0: _required(_SIDE),
    1: _required(_COUNT),
    2: Integer(0, 2),
    8: _ZERO,
}
_ATTENTION: Mapping[int, Bound] = {5: _FLAG, 6: _ANY_REAL, 7: _ZERO, 18: _ZERO}
_SPECTRUM: Mapping[int, Bound] = {
    0: _required(_KERNEL),
    **dict.fromkeys((1, 5, 8), _FLAG),
    **dict.fromkeys((2, 3), _KERNEL),
    **dict.fromkeys((4, 6, 7), Integer(0, 2)),
}
_BLOB_SHAPE: Mapping[int, Bound] = dict.fromkeys((0, 1, 2, 11), Integer(0, _INT_MAX))

_TABLE: Mapping[str, Mapping[int, Bound]] = {
    "BatchNorm": {0: _required(_SIDE), 1: _ANY_REAL},
    "BinaryOp": {0: _CODE, 1: _FLAG, 2: _ANY_REAL},
    "Concat": {0: _AXIS},
    "CopyTo": {**dict.fromkeys((0, 1, 2, 13), _OFFSET), 9: Array(_ANY_INTEGER, 4), 11: _AXES},
    "Crop": {
        **dict.fromkeys((0, 1, 2, 6, 7, 8, 13, 15), _OFFSET),
        **dict.fromkeys((3, 4, 5, 14), _CROP_SIZE),
        **dict.fromkeys((9, 10), Array(_ANY_INTEGER, 4)),
        **dict.fromkeys((19, 20, 21), Text()),
        11: _AXES,
    },
    "CumulativeSum": {0: _AXIS},
    "DeformableConv2D": {**_WEIGHTED, **dict.fromkeys((4, 14, 15, 16), _PAD)},
    "Diag": {0: Integer(-_MAX_SPAN, _MAX_SPAN)},
    "Einsum": {0: _required(Array(Integer(0, 127), 256))},
    "Eltwise": {0: Integer(0, 2), 1: Array(_ANY_REAL)},
    "Embed": {0: _required(_SIDE), 1: _required(_COUNT), 2: _FLAG, 3: _required(_COUNT), 18: _ZERO},
    "ExpandDims": {3: _required(_AXES)},
    "Flip": {0: _AXES},
    "Fold": {**_WINDOW, **dict.fromkeys((4, 14, 15, 16), _PAD), 20: _required(_SIDE), 21: _SIDE},
    "GLU": {0: _AXIS},
    "GRU": _RECURRENT,
    "Gemm": {
        **dict.fromkeys((0, 1), _ANY_REAL),
        **dict.fromkeys((2, 3, 4, 5, 6, 11, 12, 13, 14), _FLAG),
        **dict.fromkeys((7, 8, 9), _OFFSET),
        10: Integer(-1, 4),
        **dict.fromkeys((18, 20, 21, 22), _ZERO),
    },
    "GridSample": {0: Integer(1, 3), 1: Integer(1, 3), 2: _FLAG, 3: _FLAG},
    "GroupNorm": {0: _SIDE, 1: _required(_SIDE), 2: _ANY_REAL, 3: _FLAG},
    "InnerProduct": {**_ACTIVATION, 0: _required(_SIDE), 1: _FLAG, 2: _required(_COUNT), 8: _ZERO},
    "Input": _BLOB_SHAPE,
    "InstanceNorm": _NORM,
    "Interp": {
        0: Integer(0, 3),
        **dict.fromkeys((1, 2), _FACTOR),
        **dict.fromkeys((3, 4), _OFFSET),
        5: _FLAG,
        6: _FLAG,
        9: Text(),
    },
    "InverseSpectrogram": _SPECTRUM,
    "LRN": {0: _FLAG, 1: Integer(1, 1 << 10), **dict.fromkeys((2, 3, 4), _ANY_REAL)},
    "LSTM": {**_RECURRENT, 3: _SIDE},
    "LayerNorm": _NORM,
    "MatMul": {0: _FLAG},
    "MemoryData": {**_BLOB_SHAPE, 21: _FLAG},
    "MultiHeadAttention": {
        **_ATTENTION,
        **dict.fromkeys((1, 3, 4), _SIDE),
        0: _required(_SIDE),
        2: _required(_COUNT),
    },
    "Normalize": {
        **dict.fromkeys((0, 1, 4), _FLAG),
        2: _ANY_REAL,
        3: _required(_SIDE),
        9: Integer(0, 2),
    },
    "PReLU": {0: _required(_SIDE)},
    "Padding": {**dict.fromkeys((0, 1, 2, 3, 6, 7, 8), _OFFSET), 4: Integer(0, 2), 5: _ANY_REAL},
    "Permute": {0: Integer(0, 23)},
    "PixelShuffle": {0: _KERNEL, 1: _FLAG},
    "RMSNorm": _NORM,
    "RNN": _RECURRENT,
    "Reduction": {0: _CODE, 1: _FLAG, 2: _ANY_REAL, 3: _AXES, 4: _FLAG, 5: _FLAG},
    "Reorg": {0: _KERNEL, 1: _FLAG},
    "Reshape": {
        **dict.fromkeys((0, 1, 2, 11), Integer(-1, _INT_MAX, (-233,))),
        6: Text(),
        **dict.fromkeys((12, 13), Integer(-5, 4, (233,))),
    },
    "RotaryEmbed": {0: _FLAG},
    "SDPA": _ATTENTION,
    "Scale": {0: _required(Integer(1, _LARGE, (-233,))), 1: _FLAG},
    "ShuffleChannel": {0: _SIDE, 1: _FLAG},
    "Slice": {0: Array(Integer(1, _LARGE, (-233,))), 1: _AXIS, 2: Array(_ANY_INTEGER)},
    "Softmax": {0: _AXIS, 1: _FLAG},
    "Spectrogram": _SPECTRUM,
    "Squeeze": {**dict.fromkeys((0, 1, 2, 11), _FLAG), 3: _AXES},
    "Tile": {0: Integer(0, 3), 1: _SIDE, 2: Array(_SIDE, 4)},
    "UnaryOp": {0: _CODE},
    "Unfold": {**_WINDOW, 18: _ANY_REAL},
    **{
        f"{word}{group}{rank}": table if rank != "3D" else {**table, **_3D[word]}
        for word, table in (("Convolution", _CONVOLUTION), ("Deconvolution", _DECONVOLUTION))
        for group in ("", "DepthWise")
        for rank in ("1D", "", "3D")
    },
    **{f"Pooling{rank}": _POOLING for rank in ("1D", "", "3D")},
}

_REQUIRED_KEYS = {
    kind: [key for key, bound in bounds.items() if bound.required]
    for kind, bounds in _TABLE.items()
}


def check_values(layer: Layer) -> None:
    """Refuse parameters that pnnx does not write for this kind of layer.

    Raises:
        EngineError: a value of a wrong type or beyond its bounds, or one that is missing.
    """
    bounds = _TABLE.get(layer.kind, {})
    for key, value in layer.params.items():
        bound = bounds.get(key)
        if bound is None:
            _check_unknown(layer, key, value)
        elif value not in bound:
            raise layer.fault(f"parameter {key}", str(bound), value)
    for key in _REQUIRED_KEYS.get(layer.kind, ()):
        if key not in layer.params:
            raise layer.fault(f"parameter {key}", str(bounds[key]), "none")
    if bounds.get(9) is _ACTIVATION[9]:
        _check_activation(layer)


def _check_activation(layer: Layer) -> None:
    params, required = layer.params.get(10, ()), _ACTIVATION_PARAMS.get(layer.integer(9), 0)
    count = len(params) if isinstance(params, tuple) else 0
    if count < required:
        raise layer.fault("numbers of its activation", str(required), count)


def _check_unknown(layer: Layer, key: int, value: Value) -> None:
    if key == _TOP_SHAPES:
        raise layer.fault(f"parameter {key}", "no sizes of its tops", value)
    bound = Integer(0, 255) if key == _FEATURE_MASK else Integer(-_LARGE, _LARGE, _SENTINELS)
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, int) and item not in bound:
            raise layer.fault(f"parameter {key}", str(bound), item)
