"""The number of bytes that each layer reads from the ``.bin`` file, compared with its length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from backends.contract import EngineError
from backends.ncnn.checking.graph import KINDS
from backends.ncnn.checking.param import CONVERT_AGAIN, INT32, Layer, file_error

# flags in front of an array
_FP16, _INT8, _FP32 = 0x01306B47, 0x000D4B38, (0, 0x0002C056)

_TABLE_BYTES = 256 * 4  # of an array that is indices into a table of values
_EMPTY_BYTES = 4  # of the file of a net without weights: ncnn crashes on an empty one
_FROM_BOTTOM = -233  # as the size of Scale's weights


@dataclass(frozen=True)
class WeightArray:
    """An array in the file.

    Attributes:
        count: its elements.
        has_flag: whether 4 bytes in front of it state how they are stored.
    """

    count: int
    has_flag: bool


def check_weights(layers: Iterable[Layer], weights: Path) -> None:
    """Refuse a ``.bin`` file that is shorter or longer than what the layers read.

    Of the file only the flags are read. Behind a layer of a later ncnn nothing is known.

    Raises:
        EngineError: it is, or has 8-bit weights, which the engine is set up not to use.
    """
    try:
        length = weights.stat().st_size
        with weights.open("rb", buffering=0) as file:
            expected = _expected_bytes(layers, weights.name, file, length)
    except OSError as error:
        raise EngineError(f"'{weights.name}' cannot be read: {error}", do=CONVERT_AGAIN) from error
    if expected is not None and length != (expected or _EMPTY_BYTES):
        raise file_error(weights.name, f"{expected or _EMPTY_BYTES} bytes", f"{length} bytes")


def _expected_bytes(layers: Iterable[Layer], name: str, file: BinaryIO, length: int) -> int | None:
    """The bytes that all layers read; None where that is not known."""
    position = 0
    for layer in layers:
        if layer.kind not in KINDS:
            return None
        for array in weight_arrays(layer):
            if array.count not in INT32:
                raise layer.fault("weights", "a count of 32 bits", array.count)
            position += _array_bytes(file, position, array, layer)
            if position > length:
                expected = f"at least {position} bytes for '{layer.name}'"
                raise file_error(name, expected, f"{length} bytes")
    return position


def _array_bytes(file: BinaryIO, position: int, array: WeightArray, layer: Layer) -> int:
    if not array.has_flag:
        return 4 * array.count
    file.seek(position)
    flag = int.from_bytes(file.read(4), "little")
    if flag == _INT8:
        raise layer.fault("weights", "32 or 16 bits", "8 bits")
    if flag in _FP32:
        return 4 + 4 * array.count
    if flag == _FP16:
        return 4 + _aligned(2 * array.count)
    return 4 + _TABLE_BYTES + _aligned(array.count)


def _aligned(size: int) -> int:
    return (size + 3) // 4 * 4


def weight_arrays(layer: Layer) -> list[WeightArray]:
    """The arrays that a layer reads, in the order of the file."""
    rule = _ARRAYS.get(layer.kind)
    return rule(layer) if rule else []


def _plain(count_key: int, arrays: int) -> Callable[[Layer], list[WeightArray]]:
    return lambda layer: [WeightArray(layer.integer(count_key), False)] * arrays


def _if_affine(
    count_key: int, affine_key: int, arrays: int
) -> Callable[[Layer], list[WeightArray]]:
    plain = _plain(count_key, arrays)
    return lambda layer: plain(layer) if layer.integer(affine_key, 1) else []


def _weights_and_bias(
    count_key: int, outputs_key: int, bias_key: int
) -> Callable[[Layer], list[WeightArray]]:
    def arrays(layer: Layer) -> list[WeightArray]:
        if _weights_from_bottoms(layer):
            return []
        bias = [WeightArray(layer.integer(outputs_key), False)] if layer.integer(bias_key) else []
        return [WeightArray(layer.integer(count_key), True), *bias]

    return arrays


def _weights_from_bottoms(layer: Layer) -> bool:
    if layer.kind.startswith("Conv"):
        return layer.integer(19) != 0
    return layer.kind.startswith("Deconv") and layer.integer(28) != 0


def _gemm(layer: Layer) -> list[WeightArray]:
    m, n, k = (layer.integer(key) for key in (7, 8, 9))
    has_a, has_b, has_c = (layer.integer(key) for key in (4, 5, 6))
    arrays = [WeightArray(m * k, True)] if has_a else []
    arrays += [WeightArray(k * n, True)] if has_b else []
    count_of_c = {0: 1, 1: m, 2: m, 3: m * n, 4: n}.get(layer.integer(10))
    if has_c and count_of_c is not None:
        arrays.append(WeightArray(count_of_c, True))
    return arrays


def _recurrent(gates: int, biases: int) -> Callable[[Layer], list[WeightArray]]:
    def arrays(layer: Layer) -> list[WeightArray]:
        outputs, directions = layer.integer(0), 2 if layer.integer(2) == 2 else 1
        hidden = layer.integer(3, outputs) if layer.kind == "LSTM" else outputs
        rows = directions * hidden * gates
        size = layer.integer(1) // rows
        counts = [rows * size, directions * hidden * biases, rows * outputs]
        if hidden != outputs:
            counts.append(directions * hidden * outputs)
        return [WeightArray(count, True) for count in counts]

    return arrays


def _attention(layer: Layer) -> list[WeightArray]:
    width, size = layer.integer(0), layer.integer(2)
    keys, values = (width * layer.integer(key, width) for key in (3, 4))
    pairs = [(size, width), (keys, width), (values, width), (size, size // width)]
    return [
        array
        for weights, bias in pairs
        for array in (WeightArray(weights, True), WeightArray(bias, False))
    ]


def _memory_data(layer: Layer) -> list[WeightArray]:
    sides = [layer.integer(key) for key in (0, 1, 11, 2)]
    if not any(sides):
        return []
    count = 1
    for side in sides:
        count *= side or 1
    return [WeightArray(count, not layer.integer(21, 1))]


def _scale(layer: Layer) -> list[WeightArray]:
    count, has_bias = layer.integer(0), layer.integer(1)
    return [] if count == _FROM_BOTTOM else [WeightArray(count, False)] * (2 if has_bias else 1)


_ARRAYS: Mapping[str, Callable[[Layer], list[WeightArray]]] = {
    "BatchNorm": _plain(0, 4),
    "Bias": _plain(0, 1),
    "DeformableConv2D": _weights_and_bias(6, 0, 5),
    "Embed": _weights_and_bias(3, 0, 2),
    "GRU": _recurrent(3, 4),
    "Gemm": _gemm,
    "GroupNorm": _if_affine(1, 3, 2),
    "InnerProduct": _weights_and_bias(2, 0, 1),
    "InstanceNorm": _if_affine(0, 2, 2),
    "LSTM": _recurrent(4, 4),
    "LayerNorm": _if_affine(0, 2, 2),
    "MemoryData": _memory_data,
    "MultiHeadAttention": _attention,
    "Normalize": _plain(3, 1),
    "PReLU": _plain(0, 1),
    "Padding": _plain(6, 1),
    "RMSNorm": _if_affine(0, 2, 1),
    "RNN": _recurrent(1, 1),
    "Scale": _scale,
    **{
        f"{word}{group}{rank}": _weights_and_bias(6, 0, 5)
        for word in ("Convolution", "Deconvolution")
        for group in ("", "DepthWise")
        for rank in ("1D", "", "3D")
    },
}
