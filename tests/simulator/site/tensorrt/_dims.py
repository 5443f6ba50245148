"""Sizes of a tensor."""

from __future__ import annotations

from collections.abc import Iterable
from operator import index
from typing import Any, SupportsIndex


class Dims:
    """Like a tuple, but not in all: two of them cannot be compared, nor one be hashed."""

    MAX_DIMS = 8

    def __init__(self, shape: Iterable[SupportsIndex] | Dims = ()) -> None:
        sizes = sizes_of(shape) if isinstance(shape, Dims) else list(shape)
        if len(sizes) > self.MAX_DIMS:
            raise ValueError(f"Input length {len(sizes)}. Max expected length is {self.MAX_DIMS}")
        self._sizes = [index(size) for size in sizes]

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, axis: Any) -> Any:
        if isinstance(axis, slice):
            return tuple(self._sizes[axis])
        try:
            return self._sizes[axis]
        except IndexError:
            raise IndexError("Out of bounds") from None

    def __setitem__(self, axis: int, size: int) -> None:
        self._sizes[axis] = size

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, list | tuple):
            raise TypeError("__eq__(): incompatible function arguments")
        return self._sizes == list(other)

    def __repr__(self) -> str:
        return repr(tuple(self._sizes))


def sizes_of(dims: Dims) -> list[int]:
    """They are no iterator's, in the eyes of a type checker."""
    return [dims[axis] for axis in range(len(dims))]


def volume(iterable: Iterable[int]) -> int:
    """The product of sizes."""
    product = 1
    for size in iterable:
        product *= size
    return product
