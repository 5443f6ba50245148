"""Connected components of a binary map, by runs of pixels: no pixel is looked at in Python."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from backends.contract import Array


class Runs(NamedTuple):
    """Runs of set pixels within a row, row by row, each from left to right.

    Attributes:
        row: (n,) of each run.
        first: (n,) its first column.
        last: (n,) its last column.
    """

    row: Array
    first: Array
    last: Array

    def take(self, selection: Array) -> Runs:
        """The runs at these indices, or where this boolean array is true."""
        return Runs(self.row[selection], self.first[selection], self.last[selection])


def runs_of(mask: Array) -> Runs:
    """The runs of a boolean map (h, w).

    Examples:
        >>> runs = runs_of(np.array([[True, True, False, True]]))
        >>> runs.first.tolist(), runs.last.tolist()
        ([0, 3], [1, 3])
    """
    height, width = mask.shape
    padded = np.zeros((height, width + 2), np.int8)
    padded[:, 1:-1] = mask
    change = np.diff(padded, axis=1).ravel()
    row, first = np.divmod(np.flatnonzero(change == 1), width + 1)
    behind = np.flatnonzero(change == -1) % (width + 1)
    return Runs(row, first, behind - 1)


def label_runs(runs: Runs, width: int) -> Array:
    """The component (n,) of each run, from 0 on; pixels that touch at a corner are connected.

    Examples:
        >>> label_runs(runs_of(np.eye(3, dtype=bool)), 3).tolist()
        [0, 0, 0]
    """
    above, below = _touching(runs, width)
    parents = np.arange(len(runs.row))
    while True:
        first, second = parents[above], parents[below]
        apart = first != second
        if not apart.any():
            break
        low = np.minimum(first[apart], second[apart])
        np.minimum.at(parents, np.maximum(first[apart], second[apart]), low)
        parents = _roots(parents)
        above, below = above[apart], below[apart]
    labels: Array = np.unique(parents, return_inverse=True)[1].reshape(-1)
    return labels


def _roots(parents: Array) -> Array:
    while True:
        grandparents = parents[parents]
        if (grandparents == parents).all():
            return parents
        parents = grandparents


def _touching(runs: Runs, width: int) -> tuple[Array, Array]:
    """The pairs of runs in neighbouring rows that touch: the upper ones, and the lower ones."""
    stride = width + 2  # so that no run touches one of another row but the next
    first, last = runs.row * stride + runs.first, runs.row * stride + runs.last
    begin = np.searchsorted(last, first + stride - 1, "left")
    end = np.searchsorted(first, last + stride + 1, "right")
    counts = np.maximum(end - begin, 0)
    above = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
    return above, np.repeat(begin, counts) + number
