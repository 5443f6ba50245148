"""How many bytes of the ``.bin`` each layer reads, and whether they are all there and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

from backends.contract import EngineError
from backends.ncnn.checking.kinds import KINDS
from backends.ncnn.checking.param import AGAIN, INTS, Layer

Array = tuple[int, bool]  # numbers, and whether a flag in front says how they are written


_FP16, _INT8, _FP32 = 0x01306B47, 0x000D4B38, (0, 0x0002C056)


_TABLE = 256 * 4  # of an array that is indices of as many values


_NOTHING = 4  # zeros for a net without weights, since ncnn crashes on an empty file


def check_size(layers: Iterable[Layer], weights: Path) -> None:
    """Refuse a ``.bin`` that is shorter or longer than the layers read.

    Of the file only the flags are read. Behind a layer of a later ncnn nothing is known.

    Raises:
        EngineError: it is, or has weights of 8 bits, which the engine is told not to use.
    """
    try:
        length = weights.stat().st_size
        with weights.open("rb", buffering=0) as file:
            read = _read(layers, weights.name, file, length)
    except OSError as error:
        raise EngineError(f"'{weights.name}' cannot be read: {error}", do=AGAIN) from error
    if read is not None and length != (read or _NOTHING):
        raise _fault(weights.name, f"{read or _NOTHING} bytes", length)


def _read(layers: Iterable[Layer], name: str, file: BinaryIO, length: int) -> int | None:
    """All bytes that the layers read; None where that is not known."""
    at = 0
    for layer in layers:
        if layer.kind not in KINDS:
            return None
        for count, flagged in arrays(layer):
            if count not in INTS:
                raise layer.fault("weights", "a count of 32 bits", count)
            at += _bytes(file, at, count, layer) if flagged else 4 * count
            if at > length:
                raise _fault(name, f"at least {at} bytes for '{layer.name}'", length)
    return at


def arrays(layer: Layer) -> list[Array]:
    """What a layer reads, in its order: how many numbers, and whether a flag is in front."""
    rule = _ARRAYS.get(layer.kind)
    return rule(layer) if rule else []


def _bytes(file: BinaryIO, at: int, count: int, layer: Layer) -> int:
    file.seek(at)
    flag = int.from_bytes(file.read(4), "little")
    if flag == _INT8:
        raise layer.fault("weights", "32 or 16 bits", "8 bits")
    if flag in _FP32:
        return 4 + 4 * count
    if flag == _FP16:
        return 4 + _aligned(2 * count)
    return 4 + _TABLE + _aligned(count)


def _aligned(size: int) -> int:
    return (size + 3) // 4 * 4


def _fault(name: str, expected: str, length: int) -> EngineError:
    return EngineError(f"'{name}'", expected=expected, got=f"{length} bytes", do=AGAIN)


def _plain(key: int, times: int) -> Callable[[Layer], list[Array]]:
    return lambda layer: [(layer.whole(key), False)] * times


def _if_affine(size: int, affine: int, times: int) -> Callable[[Layer], list[Array]]:
    return lambda layer: [(layer.whole(size), False)] * (times if layer.whole(affine, 1) else 0)


def _weights(size: int, outputs: int, bias: int) -> Callable[[Layer], list[Array]]:
    def read(layer: Layer) -> list[Array]:
        if layer.whole(19) and layer.kind.startswith("Conv"):  # weights come as blobs
            return []
        if layer.whole(28) and layer.kind.startswith("Deconv"):
            return []
        of_bias = [(layer.whole(outputs), False)] if layer.whole(bias) else []
        return [(layer.whole(size), True), *of_bias]

    return read


def _gemm(layer: Layer) -> list[Array]:
    m, n, k = (layer.whole(key) for key in (7, 8, 9))
    found = [(m * k, True)] if layer.whole(4) else []
    found += [(k * n, True)] if layer.whole(5) else []
    of_c = {0: 1, 1: m, 2: m, 3: m * n, 4: n}.get(layer.whole(10))
    return found + ([(of_c, True)] if layer.whole(6) and of_c is not None else [])


def _recurrent(gates: int, biases: int) -> Callable[[Layer], list[Array]]:
    def read(layer: Layer) -> list[Array]:
        outputs, directions = layer.whole(0), 2 if layer.whole(2) == 2 else 1
        hidden = layer.whole(3, outputs) if layer.kind == "LSTM" else outputs
        rows = directions * hidden * gates
        size = layer.whole(1) // rows
        found = [(rows * size, True), (directions * hidden * biases, True), (rows * outputs, True)]
        return found + ([(directions * hidden * outputs, True)] if hidden != outputs else [])

    return read


def _attention(layer: Layer) -> list[Array]:
    embedded, size = layer.whole(0), layer.whole(2)
    of_keys, of_values = (embedded * layer.whole(key, embedded) for key in (3, 4))
    found = [(size, embedded), (of_keys, embedded), (of_values, embedded), (size, size // embedded)]
    return [array for weight, bias in found for array in ((weight, True), (bias, False))]


def _memory(layer: Layer) -> list[Array]:
    sides = [layer.whole(key) for key in (0, 1, 11, 2)]
    if not any(sides):
        return []
    count = 1
    for side in sides:
        count *= side or 1
    return [(count, not layer.whole(21, 1))]


def _scale(layer: Layer) -> list[Array]:
    count = layer.whole(0)
    return [] if count == -233 else [(count, False)] * (2 if layer.whole(1) else 1)


_ARRAYS: Mapping[str, Callable[[Layer], list[Array]]] = {
    "BatchNorm": _plain(0, 4),
    "Bias": _plain(0, 1),
    "DeformableConv2D": _weights(6, 0, 5),
    "Embed": _weights(3, 0, 2),
    "GRU": _recurrent(3, 4),
    "Gemm": _gemm,
    "GroupNorm": _if_affine(1, 3, 2),
    "InnerProduct": _weights(2, 0, 1),
    "InstanceNorm": _if_affine(0, 2, 2),
    "LSTM": _recurrent(4, 4),
    "LayerNorm": _if_affine(0, 2, 2),
    "MemoryData": _memory,
    "MultiHeadAttention": _attention,
    "Normalize": _plain(3, 1),
    "PReLU": _plain(0, 1),
    "Padding": _plain(6, 1),
    "RMSNorm": _if_affine(0, 2, 1),
    "RNN": _recurrent(1, 1),
    "Scale": _scale,
    **{
        f"{word}{group}{rank}": _weights(6, 0, 5)
        for word in ("Convolution", "Deconvolution")
        for group in ("", "DepthWise")
        for rank in ("1D", "", "3D")
    },
}
