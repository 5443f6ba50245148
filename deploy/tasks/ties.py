"""Scores that are equal but for rounding."""

from __future__ import annotations

import numpy as np

from backends.contract import Array

_TIE = 1e-4  # of the larger score: ten times below what fp32 engines may differ by


def near(first: Array | np.float32, second: Array | np.float32) -> Array:
    """Whether two scores, or each pair of them, are equal but for rounding; NaN and NaN are not.

    Examples:
        >>> near(np.array([0.5, 0.5]), np.array([0.50001, 0.51])).tolist()
        [True, False]
    """
    with np.errstate(invalid="ignore"):
        largest = np.maximum(np.abs(first), np.abs(second))
        close: Array = np.abs(np.subtract(first, second)) <= _TIE * largest
    return close
