"""What compiled code declares of its arguments: dtypes, ranks, sizes and ranges of indices.

Sizes have names, and one name is one size in all arguments of a call.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

_BITS = 63  # of an integer, beside its sign

Sizes = dict[str, int]
"""The named sizes of a call, as far as its arguments have been looked at."""


class Rule(Protocol):
    """What an argument is to be."""

    def fault(self, value: Any, sizes: Sizes) -> str:
        """What the argument is instead, or an empty text; named sizes are looked up or added."""
        ...


@dataclass(frozen=True)
class Least:
    """A named size that is not below ``low``."""

    low: int
    name: str

    def __str__(self) -> str:
        """Such as ``attributes >= 5``."""
        return f"{self.name} >= {self.low}"


Size = int | str | Least | None
"""A fixed size, the name of one, a name with a lower bound, or None for any size."""


class ArrayOf:
    """An array of a dtype and shape.

    Args:
        dtype: NumPy's name of the dtype; None for any.
        shape: its sizes.
        index_of: the name of a size. All values are from 0 up and below it.

    Examples:
        >>> rule, sizes = ArrayOf("float32", "n", 4), {}
        >>> rule.fault(np.zeros((3, 4), np.float32), sizes), sizes
        ('', {'n': 3})
        >>> rule.fault(np.zeros((2, 4), np.float32), sizes)
        'float32[2, 4], where n = 3'
        >>> ArrayOf("int64", "k", index_of="n").fault(np.array([0, 3]), sizes)
        'values from 0 to 3, where n = 3, k = 2'
    """

    def __init__(self, dtype: str | None, *shape: Size, index_of: str = "") -> None:
        self.shape, self.index_of = shape, index_of
        self._dtype = np.dtype(dtype) if dtype else None
        self._bounds = _bounds(shape)

    def fault(self, value: Any, sizes: Sizes) -> str:
        """See ``Rule``."""
        if not isinstance(value, np.ndarray):
            return type(value).__name__
        is_other = self._dtype is not None and value.dtype != self._dtype
        if is_other or not _fits(self._bounds, value.shape, sizes):
            return f"{value.dtype}{list(value.shape)}{_known(sizes)}"
        # as unsigned integers, negative ones are the largest
        if self.index_of and value.size and value.view(np.uint64).max() >= sizes[self.index_of]:
            return f"values from {value.min()} to {value.max()}{_known(sizes)}"
        return ""

    def __str__(self) -> str:
        """Such as ``float32[n, 4]``."""
        sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
        indices = f" of indices below {self.index_of}" if self.index_of else ""
        return f"{self._dtype or 'an array '}[{sizes}]{indices}"


@dataclass(frozen=True)
class Number:
    """A number; a whole one has 64 bits."""

    whole: bool

    def fault(self, value: Any, sizes: Sizes) -> str:
        """See ``Rule``."""
        if type(value) is float and not self.whole:
            return ""
        kinds = (int, np.integer) if self.whole else (int, float, np.number)
        if not isinstance(value, kinds) or isinstance(value, bool):
            return type(value).__name__
        if isinstance(value, int) and value.bit_length() > _BITS:
            return f"one of {value.bit_length() + 1} bits"
        return ""

    def __str__(self) -> str:
        """Such as ``an integer``."""
        return "an integer of 64 bits" if self.whole else "a number"


@dataclass(frozen=True)
class Each:
    """A tuple: how many items it has, and what each of them is."""

    count: int | str
    item: Rule

    def fault(self, value: Any, sizes: Sizes) -> str:
        """See ``Rule``."""
        if not isinstance(value, tuple):
            return type(value).__name__
        count = len(value)
        known = self.count if isinstance(self.count, int) else sizes.setdefault(self.count, count)
        if known != count:
            return f"{count} items{_known(sizes)}"
        for number, item in enumerate(value):
            if fault := self.item.fault(item, sizes):
                return f"{fault} as item {number}"
        return ""

    def __str__(self) -> str:
        """Such as ``a tuple of levels times float32[n, 4]``."""
        return f"a tuple of {self.count} times {self.item}"


_Bounds = tuple[tuple[str, int, int], ...]


def _bounds(shape: tuple[Size, ...]) -> _Bounds:
    """Of each axis its name, or an empty text, and its smallest and largest size."""
    bounds = []
    for size in shape:
        if isinstance(size, int):
            bounds.append(("", size, size))
        elif isinstance(size, Least):
            bounds.append((size.name, size.low, sys.maxsize))
        else:
            bounds.append((size or "", 0, sys.maxsize))
    return tuple(bounds)


def _fits(bounds: _Bounds, shape: tuple[int, ...], sizes: Sizes) -> bool:
    """At every picture: 1 us is 1% of what the code takes that is guarded."""
    if len(bounds) != len(shape):
        return False
    for (name, low, high), size in zip(bounds, shape, strict=True):
        if not low <= size <= high or (name and sizes.setdefault(name, size) != size):
            return False
    return True


def _known(sizes: Sizes) -> str:
    known = ", ".join(f"{name} = {size}" for name, size in sizes.items())
    return f", where {known}" if known else ""
