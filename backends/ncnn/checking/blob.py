"""The size of a blob, as ncnn sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from backends.ncnn.checking.param import Layer

Sizes = tuple[int, ...]


LETTERS: Mapping[int, str] = {1: "w", 2: "hw", 3: "chw", 4: "cdhw"}  # what ncnn calls the axes


MOST_NUMBERS = 1 << 29  # of a blob: 2 GiB


@dataclass(frozen=True)
class Blob:
    """What is known of a blob before the net runs.

    Attributes:
        sizes: from the outermost axis on: w; h, w; c, h, w; or c, d, h, w.
        rows: of the batch, which ncnn keeps apart.
    """

    sizes: Sizes
    rows: int = 1

    @property
    def total(self) -> int:
        """How many numbers there are, in all rows."""
        return self.rows * prod(self.sizes)

    def size(self, letter: str) -> int:
        """What ncnn calls w, h, d, c or n; 1 where there is no such axis."""
        if letter == "n":
            return self.rows
        letters = LETTERS[len(self.sizes)]
        return self.sizes[letters.index(letter)] if letter in letters else 1


Rule = Callable[[Layer, Sequence[Blob]], Sequence[Sizes | None]]  # the tops' sizes of its bottoms
