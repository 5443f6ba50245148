"""The size of a blob, as ncnn sees it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

Sizes = tuple[int, ...]


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
        of_rank = {1: "w", 2: "hw", 3: "chw", 4: "cdhw"}[len(self.sizes)]
        return self.sizes[of_rank.index(letter)] if letter in of_rank else 1
