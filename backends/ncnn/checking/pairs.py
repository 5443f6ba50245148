"""Layers that go through several blobs number by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backends.ncnn.checking.blob import Blob, Rule, Sizes
from backends.ncnn.checking.param import Layer


def _binary(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    if layer.whole(1):
        return [blobs[0].sizes]
    if len(blobs) != 2:
        raise layer.fault("bottoms", "2", len(blobs))
    first, second = (blob.sizes for blob in blobs)
    pairs = [*zip(_expanded(first, second), _expanded(second, first), strict=True)]
    if any(a != b and 1 not in (a, b) for a, b in pairs):
        raise layer.fault("sizes", f"some that go with {list(first)}", list(second))
    return [tuple(map(max, pairs))]


def _expanded(sizes: Sizes, other: Sizes) -> Sizes:
    """With the axes that it lacks: ncnn adds them behind, where a list is not as long as a row."""
    lacking = (1,) * (len(other) - len(sizes))
    if len(sizes) == 1 and lacking and sizes[0] != other[0]:
        return (*lacking, *sizes)
    return (*sizes, *lacking)


def _eltwise(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    sizes = {blob.sizes for blob in blobs}
    factors = layer.params.get(1, ())
    if len(sizes) > 1 or (isinstance(factors, tuple) and len(factors) not in (0, len(blobs))):
        raise layer.fault("sizes and factors", f"{len(blobs)} of one size", sorted(sizes))
    return [blobs[0].sizes]


def _grid_sample(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    sizes, grid = blobs[0].sizes, blobs[1].sizes
    rank = len(sizes) - 1
    at, result = (0, grid[1:]) if layer.whole(3) else (-1, grid[:-1])
    if rank < 2 or len(grid) != len(sizes) or grid[at] != rank:
        raise layer.fault("grid", f"{rank} numbers for each place", list(grid))
    return [(sizes[0], *result)]


RULES: Mapping[str, Rule] = {
    "BinaryOp": _binary,
    "Eltwise": _eltwise,
    "GridSample": _grid_sample,
}
