"""Layers that move numbers and compute none: another shape, another order, a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from backends.ncnn.checking.blob import LETTERS, Blob, Rule, Sizes
from backends.ncnn.checking.expressions import evaluate
from backends.ncnn.checking.param import Layer

_NO_BATCH = 233


_REST = -233  # as a side: no such axis


_MOST_RANK = 4


def changes_rows(layer: Layer) -> bool:
    """Whether the batch is one of the axes that are reshaped."""
    axes = (layer.whole(key, _NO_BATCH) for key in (12, 13))
    return layer.kind == "Reshape" and any(axis != _NO_BATCH for axis in axes)


def reshape_rows(layer: Layer, blobs: Sequence[Blob]) -> Blob | None:
    """A reshape that takes the batch as an axis, makes an axis the batch, or both."""
    bottom = blobs[0]
    taken, made = (layer.whole(key, _NO_BATCH) for key in (12, 13))
    logical = list(bottom.sizes)
    if taken != _NO_BATCH:
        logical.insert(axis_in(layer, taken, len(logical) + 1), bottom.rows)
    sides = _sides(layer, blobs)
    if sides is None:
        return None
    found = _filled(layer, sides, tuple(logical))
    rows = 1
    if made != _NO_BATCH:
        rows = found.pop(axis_in(layer, made, len(found)))
    if not 1 <= len(found) <= _MOST_RANK:
        raise layer.fault("axes beside the batch", f"1 to {_MOST_RANK}", len(found))
    return Blob(tuple(found), rows)


def axis_in(layer: Layer, axis: int, rank: int) -> int:
    """An axis from 0 on.

    Raises:
        EngineError: there is none of this number.
    """
    if not -rank <= axis < rank:
        raise layer.fault("axis", f"{-rank} to {rank - 1}", axis)
    return axis % rank


def _axes(layer: Layer, key: int, rank: int) -> list[int]:
    return [axis_in(layer, axis, rank) for axis in layer.wholes(key)]


def _sides(layer: Layer, blobs: Sequence[Blob]) -> list[int] | None:
    """The shape that is asked for, the outermost axis first; None where only ncnn knows."""
    if text := layer.text(6):
        return _evaluated(layer, text, blobs)
    width, height, depth, channels = (layer.whole(key, _REST) for key in (0, 1, 11, 2))
    if width == _REST:
        raise layer.fault("its shape", "a width", "none")
    if height == _REST:
        return [width]
    if channels == _REST:
        return [height, width]
    return [channels, height, width] if depth == _REST else [channels, depth, height, width]


def _evaluated(layer: Layer, text: str, blobs: Sequence[Blob]) -> list[int] | None:
    try:
        terms = evaluate(text, blobs)
    except ValueError as error:
        raise layer.fault("its shape", str(error), repr(text)) from error
    sides = [term for term in terms[::-1] if term is not None]
    return sides if len(sides) == len(terms) else None


def _filled(layer: Layer, sides: Sequence[int], logical: Sizes) -> list[int]:
    """With -1 and 0, which are the rest and a side as it was, replaced."""
    total = prod(logical)
    kept = [
        logical[at] if side == 0 and at < len(logical) else side for at, side in enumerate(sides)
    ]
    others = prod(side for side in kept if side != -1)
    if others:
        kept = [total // others if side == -1 else side for side in kept]
    if prod(kept) != total or min(kept, default=0) < 1:
        raise layer.fault("its shape", f"one of {total} numbers", list(sides))
    return kept


def _reshape(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes | None]:
    sides = _sides(layer, blobs)
    if sides is None:
        return [None]
    if not 1 <= len(sides) <= _MOST_RANK:
        raise layer.fault("its rank", f"1 to {_MOST_RANK}", len(sides))
    letters = LETTERS[len(sides)]
    kept = [
        blobs[0].size(letter) if side == 0 else side
        for letter, side in zip(letters, sides, strict=True)
    ]
    return [tuple(_filled(layer, kept, blobs[0].sizes))]


def _flatten(_: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    return [(prod(blobs[0].sizes),)]


def _squeeze(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    sizes = blobs[0].sizes
    axes = set(_axes(layer, 3, len(sizes)))
    if not axes:
        letters = LETTERS[len(sizes)]
        flags = {"w": 0, "h": 1, "d": 11, "c": 2}
        axes = {at for at, letter in enumerate(letters) if layer.whole(flags[letter])}
    kept = tuple(size for at, size in enumerate(sizes) if size != 1 or at not in axes)
    return [kept or (1,)]


def _expand_dims(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    rank = len(blobs[0].sizes) + len(layer.wholes(3))
    if rank > _MOST_RANK:
        raise layer.fault("the rank of its result", f"at most {_MOST_RANK}", rank)
    axes = set(_axes(layer, 3, rank))
    if len(axes) + len(blobs[0].sizes) != rank:
        raise layer.fault("axes", "no axis twice", list(layer.wholes(3)))
    rest = iter(blobs[0].sizes)
    return [tuple(1 if at in axes else next(rest) for at in range(rank))]


def _orders(letters: str) -> list[str]:
    """All orders of the axes in ncnn's numbering, the innermost first."""
    if len(letters) == 1:
        return [letters]
    return [
        order + last for last in reversed(letters) for order in _orders(letters.replace(last, ""))
    ]


_ORDERS = {1: ["w"] * 24, 2: _orders("wh"), 3: _orders("whc"), 4: _orders("whdc")}


def _permute(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    orders = _ORDERS[len(blobs[0].sizes)]
    if layer.whole(0) >= len(orders):
        raise layer.fault("order", f"0 to {len(orders) - 1}", layer.whole(0))
    return [tuple(blobs[0].size(letter) for letter in reversed(orders[layer.whole(0)]))]


def _tile(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    sizes, repeats = blobs[0].sizes, layer.wholes(2)
    if not repeats:
        along = layer.whole(0) if len(sizes) > 1 else 0
        times = layer.whole(1, 1)
        return [tuple(size * (times if at == along else 1) for at, size in enumerate(sizes))]
    rank = max(len(sizes), len(repeats))
    of_letter = dict(zip(LETTERS[len(repeats)], repeats, strict=True))
    if len(sizes) == 4 and len(repeats) == 3:
        of_letter = dict(zip("dhw", repeats, strict=True))
    return [tuple(blobs[0].size(letter) * of_letter.get(letter, 1) for letter in LETTERS[rank])]


RULES: Mapping[str, Rule] = {
    "ExpandDims": _expand_dims,
    "Flatten": _flatten,
    "Permute": _permute,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Tile": _tile,
}
