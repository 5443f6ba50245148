"""Layers that multiply matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod

from backends.ncnn.checking.blob import Blob, Rule, Sizes
from backends.ncnn.checking.param import Layer

_MOST_TERMS = 1 << 36  # that an Einsum adds up


def _matrix(layer: Layer, blob: Blob) -> Sizes:
    """Height and width of what may have axes of 1 in front."""
    if len(blob.sizes) < 2 or prod(blob.sizes[:-2]) != 1:
        raise layer.fault("its bottom", "a matrix", list(blob.sizes))
    return blob.sizes[-2:]


def _inner_product(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    outputs, size, sizes = layer.whole(0), layer.whole(2), blobs[0].sizes
    taken = size // outputs
    if taken * outputs == size:
        if len(sizes) == 2 and sizes[1] == taken:
            return [(sizes[0], outputs)]
        if prod(sizes) == taken:
            return [(outputs,)]
    raise layer.fault("weights", f"some for {list(sizes)} and {outputs}", size)


def _gemm(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    constant = [layer.whole(key) for key in (4, 5, 6)]
    least = 2 - constant[0] - constant[1]
    if not max(least, 1) <= len(blobs) <= least + 1 - constant[2]:
        raise layer.fault("bottoms", "one for each matrix that is not constant", len(blobs))
    m, n, k = (layer.whole(key) for key in (7, 8, 9))
    rest = iter(blobs)
    rows, taken = (m, k) if constant[0] else _turned(layer, next(rest), layer.whole(2))
    given, columns = (k, n) if constant[1] else _turned(layer, next(rest), layer.whole(3))
    if taken != given:
        raise layer.fault("the inner sizes of its matrices", str(taken), given)
    if constant[2]:  # 1, 2 and 3 are of as many numbers as it has rows, 3 and 4 as columns
        kind = layer.whole(10)
        if (kind in (1, 2, 3) and m != rows) or (kind in (3, 4) and n != columns):
            raise layer.fault("the size of what it adds", f"{rows} x {columns}", f"{m} x {n}")
    found = (columns, rows) if layer.whole(14) else (rows, columns)
    return [(found[0], 1, found[1]) if layer.whole(11) else found]


def _turned(layer: Layer, blob: Blob, turned: int) -> Sizes:
    if len(blob.sizes) not in (2, 3):  # of three the one in the middle is 1, and does not count
        raise layer.fault("the rank of its bottom", "2 or 3", list(blob.sizes))
    height, width = blob.sizes[0], blob.sizes[-1]
    return (width, height) if turned else (height, width)


def _matmul(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    first, second = blobs[0].sizes, blobs[1].sizes
    left = first if len(first) > 1 else (1, *first)
    right = second if len(second) > 1 else (*second, 1)
    if layer.whole(0) and len(second) > 1:
        right = (*right[:-2], right[-1], right[-2])
    batches = list(zip(*(((1, 1, *sizes)[-4:-2]) for sizes in (left, right)), strict=True))
    if left[-1] != right[-2] or any(a != b and 1 not in (a, b) for a, b in batches):
        raise layer.fault("sizes", f"a product with {list(first)}", list(second))
    outer = tuple(map(max, batches))[4 - max(len(left), len(right)) :]
    rows = left[-2:-1] if len(first) > 1 else ()
    columns = right[-1:] if len(second) > 1 else ()
    return [(*outer, *rows, *columns) or (1,)]


def _embed(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    outputs = layer.whole(0)
    if layer.whole(3) != outputs * layer.whole(1):
        raise layer.fault("weights", f"{outputs} for each of {layer.whole(1)}", layer.whole(3))
    return [(blobs[0].sizes[-1], outputs)]


def _einsum(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    equation = "".join(map(chr, layer.wholes(0)))
    given, _, found = equation.partition("->")
    tokens = given.split(",")
    if equation == "ii":
        _square(layer, blobs)
        return [(1,)]
    sides: dict[str, int] = {}
    fits = len(tokens) == len(blobs) and found != "" and found == "ijkl"[: len(found)]
    for token, blob in zip(tokens, blobs, strict=False):
        fits = fits and len(token) == len(blob.sizes) and not token.strip("ijklmnopqrstuvwx")
        for letter, size in zip(token, blob.sizes, strict=False):
            fits = fits and sides.setdefault(letter, size) == size
    if not fits or not set(found) <= sides.keys() or prod(sides.values()) > _MOST_TERMS:
        shown = [list(blob.sizes) for blob in blobs]
        raise layer.fault("equation", f"one for {shown}", repr(equation))
    return [tuple(sides[letter] for letter in found)]


def _square(layer: Layer, blobs: Sequence[Blob]) -> None:
    sizes = blobs[0].sizes
    if len(sizes) != 2 or sizes[0] != sizes[1]:
        raise layer.fault("its bottom", "a square matrix", list(sizes))


def _attention(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    masked, embedded, size = layer.whole(5), layer.whole(0), layer.whole(2)
    heads = layer.whole(1, 1)
    count = len(blobs) - masked
    if not 1 <= count <= 3 or embedded % heads or size % embedded:
        raise layer.fault("heads and bottoms", f"a divisor of {embedded}", f"{heads}, {count}")
    queries, keys, values = (blobs[min(at, count - 1)].sizes for at in range(3))
    widths = [size // embedded, layer.whole(3, embedded), layer.whole(4, embedded)]
    shown = [queries, keys, values]
    fits = all(len(sizes) == 2 for sizes in shown) and keys[0] == values[0]
    if not fits or [sizes[1] for sizes in shown] != widths:
        raise layer.fault("queries, keys and values", f"widths of {widths}", shown)
    if masked:
        _check_mask(layer, blobs[-1], (queries[0], keys[0]), (heads,))
    return [queries]


def _sdpa(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    if len(blobs) != 3 + layer.whole(5) or any(len(blob.sizes) != 3 for blob in blobs[:3]):
        raise layer.fault("bottoms", "three of rank 3, and a mask where it has one", len(blobs))
    queries, keys, values = (blob.sizes for blob in blobs[:3])
    fits = keys[2] == queries[2] and keys[:2] == values[:2] and queries[0] % keys[0] == 0
    if not fits:
        raise layer.fault("keys and values", f"some for {list(queries)}", [keys, values])
    if layer.whole(5):
        _check_mask(layer, blobs[3], (queries[1], keys[1]), (1, queries[0]))
    return [(*queries[:2], values[2])]


def _check_mask(layer: Layer, blob: Blob, sizes: Sizes, channels: Sizes) -> None:
    if blob.sizes != sizes and blob.sizes not in [(count, *sizes) for count in channels]:
        raise layer.fault("mask", str([channels[-1], *sizes]), list(blob.sizes))


def _rotary(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    sizes = blobs[0].sizes
    for blob in blobs[1:]:
        height, width = _matrix(layer, blob)
        if len(sizes) != 3 or height < sizes[1] or width < sizes[2] // 2 or sizes[2] % 2:
            raise layer.fault("angles", f"some for {list(sizes)}", list(blob.sizes))
    return [sizes]


def _recurrent(gates: int, layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    outputs, size, directions = layer.whole(0), layer.whole(1), 2 if layer.whole(2) == 2 else 1
    long = layer.kind == "LSTM"
    hidden = layer.whole(3, outputs) if long else outputs
    steps, width = _matrix(layer, blobs[0])
    if size != width * hidden * gates * directions:
        raise layer.fault("weights", str(width * hidden * gates * directions), size)
    states = [outputs, hidden] if long else [outputs]
    for count in (len(blobs), len(layer.tops)):
        if count not in (1, 1 + len(states)):
            raise layer.fault("states", f"none or {len(states)}", count - 1)
    for blob, state in zip(blobs[1:], states, strict=False):
        if blob.sizes[-1] != state or prod(blob.sizes) != directions * state:
            raise layer.fault("states", f"{directions} x {state}", list(blob.sizes))
    kept = [blob.sizes for blob in blobs[1:]] or [(directions, state) for state in states]
    return [(steps, outputs * directions), *kept[: len(layer.tops) - 1]]


RULES: Mapping[str, Rule] = {
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
