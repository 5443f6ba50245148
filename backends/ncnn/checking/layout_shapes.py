"""Shapes of layers that move elements without computing: reshape, permute, slice, concatenate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from backends.ncnn.checking.blob import (
    AXIS_LETTERS,
    MAX_RANK,
    Blob,
    ShapeRule,
    Sizes,
    axis_or_only,
    evaluate_expression,
    positive_axis,
)
from backends.ncnn.checking.param import Layer

_NO_BATCH = 233
_NO_AXIS = -233  # as a side of a reshape
_REST = (
    -233
)  # of slices: an equal share of what is left; of starts and ends: the first and the last


def changes_rows(layer: Layer) -> bool:
    """Whether a reshape makes the batch an axis, or an axis the batch."""
    axes = (layer.integer(key, _NO_BATCH) for key in (12, 13))
    return layer.kind == "Reshape" and any(axis != _NO_BATCH for axis in axes)


def reshape_rows(layer: Layer, bottoms: Sequence[Blob]) -> Blob | None:
    """The result of a reshape for which ``changes_rows`` holds; None where only ncnn knows it."""
    bottom = bottoms[0]
    bottom_batch, top_batch = (layer.integer(key, _NO_BATCH) for key in (12, 13))
    sizes = list(bottom.sizes)
    if bottom_batch != _NO_BATCH:
        sizes.insert(positive_axis(layer, bottom_batch, len(sizes) + 1), bottom.rows)
    sides = _sides(layer, bottoms)
    if sides is None:
        return None
    shape = _resolved_shape(layer, sides, tuple(sizes))
    rows = 1
    if top_batch != _NO_BATCH:
        rows = shape.pop(positive_axis(layer, top_batch, len(shape)))
    if not 1 <= len(shape) <= MAX_RANK:
        raise layer.fault("axes beside the batch", f"1 to {MAX_RANK}", len(shape))
    return Blob(tuple(shape), rows)


def _reshape(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes | None]:
    sides = _sides(layer, bottoms)
    if sides is None:
        return [None]
    if not 1 <= len(sides) <= MAX_RANK:
        raise layer.fault("its rank", f"1 to {MAX_RANK}", len(sides))
    letters = AXIS_LETTERS[len(sides)]
    sides = [
        bottoms[0].size(letter) if side == 0 else side
        for letter, side in zip(letters, sides, strict=True)
    ]
    return [tuple(_resolved_shape(layer, sides, bottoms[0].sizes))]


def _sides(layer: Layer, bottoms: Sequence[Blob]) -> list[int] | None:
    """The sides of a reshape, the outermost axis first; None where only ncnn can compute them."""
    if text := layer.text(6):
        terms = evaluate_expression(layer, "its shape", text, bottoms)
        sides = [term for term in terms[::-1] if term is not None]
        return sides if len(sides) == len(terms) else None
    width, height, depth, channels = (layer.integer(key, _NO_AXIS) for key in (0, 1, 11, 2))
    if width == _NO_AXIS:
        raise layer.fault("its shape", "a width", "none")
    if height == _NO_AXIS:
        return [width]
    if channels == _NO_AXIS:
        return [height, width]
    return [channels, height, width] if depth == _NO_AXIS else [channels, depth, height, width]


def _resolved_shape(layer: Layer, sides: Sequence[int], sizes: Sizes) -> list[int]:
    """The sides, with 0 (the size as it was) and -1 (what is left) replaced."""
    total = prod(sizes)
    shape = [
        sizes[axis] if side == 0 and axis < len(sizes) else side for axis, side in enumerate(sides)
    ]
    known = prod(side for side in shape if side != -1)
    if known:
        shape = [total // known if side == -1 else side for side in shape]
    if prod(shape) != total or min(shape, default=0) < 1:
        raise layer.fault("its shape", f"one of {total} numbers", list(sides))
    return shape


def _flatten(_: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    return [(prod(bottoms[0].sizes),)]


def _squeeze(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    sizes = bottoms[0].sizes
    axes = {positive_axis(layer, axis, len(sizes)) for axis in layer.integers(3)}
    if not axes:
        flag_ids = {"w": 0, "h": 1, "d": 11, "c": 2}
        letters = enumerate(AXIS_LETTERS[len(sizes)])
        axes = {axis for axis, letter in letters if layer.integer(flag_ids[letter])}
    kept = tuple(size for axis, size in enumerate(sizes) if size != 1 or axis not in axes)
    return [kept or (1,)]


def _expand_dims(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    rank = len(bottoms[0].sizes) + len(layer.integers(3))
    if rank > MAX_RANK:
        raise layer.fault("the rank of its result", f"at most {MAX_RANK}", rank)
    axes = {positive_axis(layer, axis, rank) for axis in layer.integers(3)}
    if len(axes) + len(bottoms[0].sizes) != rank:
        raise layer.fault("axes", "no axis twice", list(layer.integers(3)))
    sizes = iter(bottoms[0].sizes)
    return [tuple(1 if axis in axes else next(sizes) for axis in range(rank))]


def _axis_orders(letters: str) -> list[str]:
    """All orders of the axes in ncnn's numbering, the innermost axis first."""
    if len(letters) == 1:
        return [letters]
    return [
        order + last
        for last in reversed(letters)
        for order in _axis_orders(letters.replace(last, ""))
    ]


_AXIS_ORDERS = {
    1: ["w"] * 24,
    2: _axis_orders("wh"),
    3: _axis_orders("whc"),
    4: _axis_orders("whdc"),
}


def _permute(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    orders, order = _AXIS_ORDERS[len(bottoms[0].sizes)], layer.integer(0)
    if order >= len(orders):
        raise layer.fault("order", f"0 to {len(orders) - 1}", order)
    return [tuple(bottoms[0].size(letter) for letter in reversed(orders[order]))]


def _tile(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    sizes, repeats = bottoms[0].sizes, layer.integers(2)
    if not repeats:
        tiled = layer.integer(0) if len(sizes) > 1 else 0
        times = layer.integer(1, 1)
        return [tuple(size * (times if axis == tiled else 1) for axis, size in enumerate(sizes))]
    rank = max(len(sizes), len(repeats))
    letters = "dhw" if (len(sizes), len(repeats)) == (4, 3) else AXIS_LETTERS[len(repeats)]
    times_of = dict(zip(letters, repeats, strict=True))
    return [
        tuple(bottoms[0].size(letter) * times_of.get(letter, 1) for letter in AXIS_LETTERS[rank])
    ]


def _concat(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    first = bottoms[0].sizes
    axis = axis_or_only(layer, layer.integer(0), len(first))
    before, after = first[:axis], first[axis + 1 :]
    for blob in bottoms:
        sizes = blob.sizes
        if len(sizes) != len(first) or (before, after) != (sizes[:axis], sizes[axis + 1 :]):
            raise layer.fault(f"sizes beside axis {axis}", str(list(first)), list(sizes))
    return [(*before, sum(blob.sizes[axis] for blob in bottoms), *after)]


def _slice(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    sizes, count = bottoms[0].sizes, len(layer.tops)
    axis = axis_or_only(layer, layer.integer(1), len(sizes))
    shares, ends = layer.integers(0), layer.integers(2)
    if (len(ends) < count - 1) if ends else (len(shares) < count):
        raise layer.fault("parts", f"one for each of {count} tops", list(ends or shares))
    size, left, results = sizes[axis], sizes[axis], []
    for index, top in enumerate(layer.tops):
        if ends:
            end = ends[index] if index < count - 1 else size
            share = (end if end >= 0 else size + end) - (size - left)
        else:
            share = left // (count - index) if shares[index] == _REST else shares[index]
        if not 1 <= share <= left:
            raise layer.fault("parts", f"1 to {left} for '{top}'", share)
        left -= share
        results.append((*sizes[:axis], share, *sizes[axis + 1 :]))
    return results


def _crop(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes | None]:
    if layer.text(19) and layer.text(20):
        borders = [_evaluated_borders(layer, layer.text(key), bottoms) for key in (19, 20, 21)]
        known = [values for values in borders if values is not None]
        if len(known) < len(borders):
            return [None]
        starts, ends, axes = known
        return [_between(layer, bottoms[0].sizes, starts, ends, axes)]
    starts, ends, axes = (layer.integers(key) for key in (9, 10, 11))
    if starts and ends:
        return [_between(layer, bottoms[0].sizes, starts, ends, axes)]
    return [_cut(layer, bottoms)]


def _evaluated_borders(layer: Layer, text: str, bottoms: Sequence[Blob]) -> tuple[int, ...] | None:
    """None where only ncnn can compute them."""
    terms = evaluate_expression(layer, "borders", text, bottoms)
    if len(terms) > MAX_RANK:
        raise layer.fault("borders", f"at most {MAX_RANK}", len(terms))
    known = tuple(term for term in terms if term is not None)
    return known if len(known) == len(terms) else None


def _between(
    layer: Layer, sizes: Sizes, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int]
) -> Sizes:
    """Starts and ends along some axes or all, as in NumPy's slices."""
    cropped = [axis_or_only(layer, axis, len(sizes)) for axis in axes] or [*range(len(sizes))]
    if min(len(starts), len(ends)) < len(cropped) or len(cropped) > len(sizes):
        expected = f"a start and an end for {len(cropped)} axes"
        raise layer.fault("borders", expected, [*starts, *ends])
    result = list(sizes)
    for axis, start, end in zip(cropped, starts, ends, strict=False):
        size = sizes[axis]
        last = size if end == _REST else min(size, end if end > 0 else size + end)
        first = _offset(start, size)
        if not 0 <= first < last:
            raise layer.fault("borders", f"a part of {size}", f"{start} to {end}")
        result[axis] = last - first
    return tuple(result)


def _offset(start: int, size: int) -> int:
    if start == _REST:
        return 0
    return start if start >= 0 else size + start


def _cut(layer: Layer, bottoms: Sequence[Blob]) -> Sizes:
    """Offsets from both ends and a size, or the size of the second bottom."""
    sizes = bottoms[0].sizes
    ids = {"w": (0, 3, 6), "h": (1, 4, 7), "d": (13, 14, 15), "c": (2, 5, 8)}
    reference = None
    if not any(layer.integer(key) for axis_ids in ids.values() for key in axis_ids[1:]):
        if len(bottoms) < 2:
            raise layer.fault("bottoms", "one with the size to cut to", 1)
        reference = bottoms[1]
    result = []
    for letter, size in zip(AXIS_LETTERS[len(sizes)], sizes, strict=True):
        offset, wanted, end_offset = (layer.integer(key) for key in ids[letter])
        left = size - offset - end_offset
        kept = left if wanted == _REST else min(wanted, left)
        if reference:
            keeps_channels = letter == "c" and len(reference.sizes) < len(sizes)
            kept = size if keeps_channels else reference.size(letter)
        if not 1 <= kept <= left:
            raise layer.fault("borders", f"a part of {size}", f"{kept} from {offset} on")
        result.append(kept)
    return tuple(result)


def _copy_to(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    sizes, source = bottoms[0].sizes, bottoms[1].sizes
    if len(source) != len(sizes):
        raise layer.fault("the rank of what it copies", str(len(sizes)), list(source))
    starts, axes = layer.integers(9), layer.integers(11)
    ids = {1: (0,), 2: (1, 0), 3: (2, 1, 0), 4: (2, 13, 1, 0)}[len(sizes)]
    offsets = [layer.integer(key) for key in ids]
    if starts:
        shifted = [axis_or_only(layer, axis, len(sizes)) for axis in axes] or [*range(len(sizes))]
        if len(starts) < len(shifted):
            raise layer.fault("starts", str(len(shifted)), list(starts))
        offsets = [0] * len(sizes)
        for axis, start in zip(shifted, starts, strict=False):
            offsets[axis] = _offset(start, sizes[axis])
    for offset, part, size in zip(offsets, source, sizes, strict=True):
        if source != sizes and not 0 <= offset <= size - part:
            raise layer.fault("what it copies", f"a part of {size}", f"{part} from {offset} on")
    return [sizes]


def _split(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    return [bottoms[0].sizes] * len(layer.tops)


def _noop(_: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    return [blob.sizes for blob in bottoms]


def _memory_data(layer: Layer, _: Sequence[Blob]) -> list[Sizes]:
    width, height, depth, channels = (layer.integer(key) for key in (0, 1, 11, 2))
    if depth:
        return [(channels, depth, height, width)]
    if channels:
        return [(channels, height, width)]
    return [(height, width) if height else (width or 1,)]


def _diag(layer: Layer, bottoms: Sequence[Blob]) -> list[Sizes]:
    sizes, offset = bottoms[0].sizes, layer.integer(0)
    if len(sizes) == 1:
        return [(sizes[0] + abs(offset),) * 2]
    if len(sizes) > 2:
        raise layer.fault("the rank of its bottom", "1 or 2", len(sizes))
    return [(min(sizes[0] - max(-offset, 0), sizes[1] - max(offset, 0), *sizes),)]


RULES: Mapping[str, ShapeRule] = {
    "Concat": _concat,
    "CopyTo": _copy_to,
    "Crop": _crop,
    "Diag": _diag,
    "ExpandDims": _expand_dims,
    "Flatten": _flatten,
    "MemoryData": _memory_data,
    "Noop": _noop,
    "Permute": _permute,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
}
