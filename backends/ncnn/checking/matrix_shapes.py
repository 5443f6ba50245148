"""Shapes of layers that multiply matrices: dense and recurrent layers, attention, einsum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod

from backends.ncnn.checking.blob import Blob, ShapeRule, Sizes
from backends.ncnn.checking.param import Layer

_MAX_TERMS = 1 << 36  # that an Einsum adds up
_EINSUM_INDICES = "ijklmnopqrstuvwx"
_BIDIRECTIONAL = 2


def _matrix(layer: Layer, blob: Blob) -> Sizes:
    """Height and width of a matrix, which may have axes of size 1 in front."""
    if len(blob.sizes) < 2 or prod(blob.sizes[:-2]) != 1:
        raise layer.fault("its bottom", "a matrix", list(blob.sizes))
    return blob.sizes[-2:]


def _inner_product(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    outputs, count, sizes = layer.integer(0), layer.integer(2), bottoms[0].sizes
    inputs = count // outputs
    if inputs * outputs == count:
        if len(sizes) == 2 and sizes[1] == inputs:
            return [(sizes[0], outputs)]
        if prod(sizes) == inputs:
            return [(outputs,)]
    raise layer.fault("weights", f"some for {list(sizes)} and {outputs}", count)


def _gemm(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    """``A x B + C``, where each may be a constant of the file."""
    has_a, has_b, has_c = (layer.integer(key) for key in (4, 5, 6))
    required = 2 - has_a - has_b
    if not max(required, 1) <= len(bottoms) <= required + 1 - has_c:
        raise layer.fault("bottoms", "one for each matrix that is not constant", len(bottoms))
    m, n, k = (layer.integer(key) for key in (7, 8, 9))
    matrices = iter(bottoms)
    rows, inner_a = (m, k) if has_a else _transposed(layer, next(matrices), layer.integer(2))
    inner_b, columns = (k, n) if has_b else _transposed(layer, next(matrices), layer.integer(3))
    if inner_a != inner_b:
        raise layer.fault("the inner sizes of its matrices", str(inner_a), inner_b)
    if has_c:
        broadcast = layer.integer(10)  # by row: 1, 2 and 3; by column: 3 and 4
        if (broadcast in (1, 2, 3) and m != rows) or (broadcast in (3, 4) and n != columns):
            raise layer.fault("the size of what it adds", f"{rows} x {columns}", f"{m} x {n}")
    is_transposed, has_channels = layer.integer(14), layer.integer(11)
    result = (columns, rows) if is_transposed else (rows, columns)
    return [(result[0], 1, result[1]) if has_channels else result]


def _transposed(layer: Layer, blob: Blob, is_transposed: int) -> Sizes:
    if len(blob.sizes) not in (2, 3):  # of rank 3 ncnn ignores the middle axis, which is 1
        raise layer.fault("the rank of its bottom", "2 or 3", list(blob.sizes))
    height, width = blob.sizes[0], blob.sizes[-1]
    return (width, height) if is_transposed else (height, width)


def _matmul(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    first, second = bottoms[0].sizes, bottoms[1].sizes
    transposes_second = layer.integer(0)
    left = first if len(first) > 1 else (1, *first)
    right = second if len(second) > 1 else (*second, 1)
    if transposes_second and len(second) > 1:
        right = (*right[:-2], right[-1], right[-2])
    outer_axes = list(zip(*(((1, 1, *sizes)[-4:-2]) for sizes in (left, right)), strict=True))
    if left[-1] != right[-2] or any(a != b and 1 not in (a, b) for a, b in outer_axes):
        raise layer.fault("sizes", f"a product with {list(first)}", list(second))
    outer = tuple(map(max, outer_axes))[4 - max(len(left), len(right)) :]
    rows = left[-2:-1] if len(first) > 1 else ()
    columns = right[-1:] if len(second) > 1 else ()
    return [(*outer, *rows, *columns) or (1,)]


def _embed(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    outputs, inputs, count = layer.integer(0), layer.integer(1), layer.integer(3)
    if count != outputs * inputs:
        raise layer.fault("weights", f"{outputs} for each of {inputs}", count)
    return [(bottoms[0].sizes[-1], outputs)]


def _einsum(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    equation = "".join(map(chr, layer.integers(0)))
    if equation == "ii":
        _check_square(layer, bottoms)
        return [(1,)]
    left, _, result = equation.partition("->")
    operands = left.split(",")
    sides: dict[str, int] = {}
    fits = len(operands) == len(bottoms) and result != "" and result == "ijkl"[: len(result)]
    for operand, blob in zip(operands, bottoms, strict=False):
        fits = fits and len(operand) == len(blob.sizes) and not operand.strip(_EINSUM_INDICES)
        for index, size in zip(operand, blob.sizes, strict=False):
            fits = fits and sides.setdefault(index, size) == size
    if not fits or not set(result) <= sides.keys() or prod(sides.values()) > _MAX_TERMS:
        shown = [list(blob.sizes) for blob in bottoms]
        raise layer.fault("equation", f"one for {shown}", repr(equation))
    return [tuple(sides[index] for index in result)]


def _check_square(layer: Layer, bottoms: Sequence[Blob]) -> None:
    sizes = bottoms[0].sizes
    if len(sizes) != 2 or sizes[0] != sizes[1]:
        raise layer.fault("its bottom", "a square matrix", list(sizes))


def _attention(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    has_mask, width, count = layer.integer(5), layer.integer(0), layer.integer(2)
    heads = layer.integer(1, 1)
    matrices = len(bottoms) - has_mask
    if not 1 <= matrices <= 3 or width % heads or count % width:
        raise layer.fault("heads and bottoms", f"a divisor of {width}", f"{heads}, {matrices}")
    queries, keys, values = (bottoms[min(index, matrices - 1)].sizes for index in range(3))
    widths = [count // width, layer.integer(3, width), layer.integer(4, width)]
    shapes = [queries, keys, values]
    are_matrices = all(len(sizes) == 2 for sizes in shapes) and keys[0] == values[0]
    if not are_matrices or [sizes[1] for sizes in shapes] != widths:
        raise layer.fault("queries, keys and values", f"widths of {widths}", shapes)
    if has_mask:
        _check_mask(layer, bottoms[-1], (queries[0], keys[0]), (heads,))
    return [queries]


def _sdpa(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    has_mask = layer.integer(5)
    if len(bottoms) != 3 + has_mask or any(len(blob.sizes) != 3 for blob in bottoms[:3]):
        expected = "three of rank 3, and a mask where it has one"
        raise layer.fault("bottoms", expected, len(bottoms))
    queries, keys, values = (blob.sizes for blob in bottoms[:3])
    fits = keys[2] == queries[2] and keys[:2] == values[:2] and queries[0] % keys[0] == 0
    if not fits:
        raise layer.fault("keys and values", f"some for {list(queries)}", [keys, values])
    if has_mask:
        _check_mask(layer, bottoms[3], (queries[1], keys[1]), (1, queries[0]))
    return [(*queries[:2], values[2])]


def _check_mask(layer: Layer, mask: Blob, sizes: Sizes, channels: Sizes) -> None:
    if mask.sizes != sizes and mask.sizes not in [(count, *sizes) for count in channels]:
        raise layer.fault("mask", str([channels[-1], *sizes]), list(mask.sizes))


def _rotary(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    sizes = bottoms[0].sizes
    for angles in bottoms[1:]:
        height, width = _matrix(layer, angles)
        if len(sizes) != 3 or height < sizes[1] or width < sizes[2] // 2 or sizes[2] % 2:
            raise layer.fault("angles", f"some for {list(sizes)}", list(angles.sizes))
    return [sizes]


def _recurrent(gates: int, layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    outputs, count = layer.integer(0), layer.integer(1)
    directions = 2 if layer.integer(2) == _BIDIRECTIONAL else 1
    is_lstm = layer.kind == "LSTM"
    hidden = layer.integer(3, outputs) if is_lstm else outputs
    steps, width = _matrix(layer, bottoms[0])
    expected = width * hidden * gates * directions
    if count != expected:
        raise layer.fault("weights", str(expected), count)
    states = [outputs, hidden] if is_lstm else [outputs]
    for blobs in (bottoms, layer.tops):
        if len(blobs) not in (1, 1 + len(states)):
            raise layer.fault("states", f"none or {len(states)}", len(blobs) - 1)
    for blob, state in zip(bottoms[1:], states, strict=False):
        if blob.sizes[-1] != state or prod(blob.sizes) != directions * state:
            raise layer.fault("states", f"{directions} x {state}", list(blob.sizes))
    state_sizes = [blob.sizes for blob in bottoms[1:]] or [(directions, state) for state in states]
    return [(steps, outputs * directions), *state_sizes[: len(layer.tops) - 1]]


RULES: Mapping[str, ShapeRule] = {
    "Einsum": _einsum,
    "Embed": _embed,
    "GRU": partial(_recurrent, 3),
    "Gemm": _gemm,
    "InnerProduct": _inner_product,
    "LSTM": partial(_recurrent, 4),
    "MatMul": _matmul,
    "MultiHeadAttention": _attention,
    "RNN": partial(_recurrent, 1),
    "RotaryEmbed": _rotary,
    "SDPA": _sdpa,
}
