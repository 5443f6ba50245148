"""Layers that cut a blob, or put several together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backends.ncnn.checking.blob import LETTERS, Blob, Rule, Sizes
from backends.ncnn.checking.expressions import evaluate
from backends.ncnn.checking.layouts import axis_in
from backends.ncnn.checking.param import Layer

_REST = -233  # of sizes: an equal share of what is left; of starts and ends: the first and the last


_MOST_RANK = 4


def axis_of(layer: Layer, axis: int, rank: int) -> int:
    """An axis from 0 on; of a list ncnn takes the only one whatever it is told.

    Raises:
        EngineError: there is none of this number.
    """
    return 0 if rank == 1 else axis_in(layer, axis, rank)


def _concat(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    first = blobs[0].sizes
    axis = axis_of(layer, layer.whole(0), len(first))
    others = (first[:axis], first[axis + 1 :])
    for blob in blobs:
        if len(blob.sizes) != len(first) or others != (blob.sizes[:axis], blob.sizes[axis + 1 :]):
            raise layer.fault(f"sizes beside axis {axis}", str(list(first)), list(blob.sizes))
    return [(*others[0], sum(blob.sizes[axis] for blob in blobs), *others[1])]


def _slice(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    sizes, count = blobs[0].sizes, len(layer.tops)
    axis = axis_of(layer, layer.whole(1), len(sizes))
    shares, ends = layer.wholes(0), layer.wholes(2)
    if (len(ends) < count - 1) if ends else (len(shares) < count):
        raise layer.fault("parts", f"one for each of {count} tops", list(ends or shares))
    found, left = [], sizes[axis]
    for at in range(count):
        if ends:
            end = ends[at] if at < count - 1 else sizes[axis]
            share = (end if end >= 0 else sizes[axis] + end) - (sizes[axis] - left)
        else:
            share = left // (count - at) if shares[at] == _REST else shares[at]
        if not 1 <= share <= left:
            raise layer.fault("parts", f"1 to {left} for '{layer.tops[at]}'", share)
        left -= share
        found.append((*sizes[:axis], share, *sizes[axis + 1 :]))
    return found


def _crop(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes | None]:
    if layer.text(19) and layer.text(20):
        terms = [_evaluated(layer, layer.text(key), blobs) for key in (19, 20, 21)]
        lists = [term for term in terms if term is not None]
        return [_between(layer, blobs[0].sizes, *lists) if len(lists) == len(terms) else None]
    starts, ends, axes = (layer.wholes(key) for key in (9, 10, 11))
    if starts and ends:
        return [_between(layer, blobs[0].sizes, starts, ends, axes)]
    return [_cut(layer, blobs)]


def _evaluated(layer: Layer, text: str, blobs: Sequence[Blob]) -> list[int] | None:
    """None where only ncnn can work it out."""
    try:
        terms = evaluate(text, blobs)
    except ValueError as error:
        raise layer.fault("borders", str(error), repr(text)) from error
    if len(terms) > _MOST_RANK:
        raise layer.fault("borders", f"at most {_MOST_RANK}", len(terms))
    known = [term for term in terms if term is not None]
    return known if len(known) == len(terms) else None


def _between(
    layer: Layer, sizes: Sizes, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int]
) -> Sizes:
    """Slices as in NumPy."""
    along = [axis_of(layer, axis, len(sizes)) for axis in axes] or [*range(len(sizes))]
    if min(len(starts), len(ends)) < len(along) or len(along) > len(sizes):
        raise layer.fault("borders", f"a start and an end for {len(along)} axes", [*starts, *ends])
    found = list(sizes)
    for axis, start, end in zip(along, starts, ends, strict=False):
        size = sizes[axis]
        last = size if end == _REST else min(size, end if end > 0 else size + end)
        first = _offset(start, size)
        if not 0 <= first < last:
            raise layer.fault("borders", f"a part of {size}", f"{start} to {end}")
        found[axis] = last - first
    return tuple(found)


def _offset(start: int, size: int) -> int:
    if start == _REST:
        return 0
    return start if start >= 0 else size + start


def _cut(layer: Layer, blobs: Sequence[Blob]) -> Sizes:
    """Offsets from both ends and a size, or the size of another blob."""
    sizes = blobs[0].sizes
    ids = {"w": (0, 3, 6), "h": (1, 4, 7), "d": (13, 14, 15), "c": (2, 5, 8)}
    other = None
    if not any(layer.whole(key) for three in ids.values() for key in three[1:]):
        if len(blobs) < 2:
            raise layer.fault("bottoms", "one with the size to cut to", 1)
        other = blobs[1]
    found = []
    for letter, size in zip(LETTERS[len(sizes)], sizes, strict=True):
        offset, asked, behind = (layer.whole(key) for key in ids[letter])
        left = size - offset - behind
        kept = left if asked == _REST else min(asked, left)
        if other:
            fewer = letter == "c" and len(other.sizes) < len(sizes)
            kept = size if fewer else other.size(letter)
        if not 1 <= kept <= left:
            raise layer.fault("borders", f"a part of {size}", f"{kept} from {offset} on")
        found.append(kept)
    return tuple(found)


def _copy_to(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    sizes, source = blobs[0].sizes, blobs[1].sizes
    if len(source) != len(sizes):
        raise layer.fault("the rank of what it copies", str(len(sizes)), list(source))
    starts, axes = layer.wholes(9), layer.wholes(11)
    ids = {1: (0,), 2: (1, 0), 3: (2, 1, 0), 4: (2, 13, 1, 0)}[len(sizes)]
    offsets = [layer.whole(key) for key in ids]
    if starts:
        along = [axis_of(layer, axis, len(sizes)) for axis in axes] or [*range(len(sizes))]
        if len(starts) < len(along):
            raise layer.fault("starts", str(len(along)), list(starts))
        offsets = [0] * len(sizes)
        for axis, start in zip(along, starts, strict=False):
            offsets[axis] = _offset(start, sizes[axis])
    for offset, part, size in zip(offsets, source, sizes, strict=True):
        if source != sizes and not 0 <= offset <= size - part:
            raise layer.fault("what it copies", f"a part of {size}", f"{part} from {offset} on")
    return [sizes]


RULES: Mapping[str, Rule] = {
    "Concat": _concat,
    "CopyTo": _copy_to,
    "Crop": _crop,
    "Slice": _slice,
}
