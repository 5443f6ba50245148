"""Error metrics of a tensor against its reference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from backends.contract import Array, Tensors


@dataclass(frozen=True)
class ErrorMetrics:
    """The distance between a tensor and its reference.

    Attributes:
        tensor: the tensor's name.
        max_abs: largest absolute difference.
        max_rel: ``max_abs`` over the largest magnitude in the reference; of whole numbers, which
            are equal or not, ``max_abs`` itself.
        cosine: cosine of the angle between both, 1.0 for equal tensors.
    """

    tensor: str
    max_abs: float
    max_rel: float
    cosine: float


def compare(tensor: str, expected: Array, actual: Array) -> ErrorMetrics:
    """The gap of ``actual`` from ``expected``; another shape, NaN or Inf is an infinite gap."""
    if expected.shape != actual.shape or not np.isfinite(actual).all():
        return _infinite(tensor)
    want, got = expected.astype(np.float64).ravel(), actual.astype(np.float64).ravel()
    if want.size == 0:
        return ErrorMetrics(tensor, 0.0, 0.0, 1.0)
    max_abs = float(np.abs(want - got).max())
    scale = float(np.abs(want).max()) if expected.dtype.kind not in "iub" else 1.0
    return ErrorMetrics(tensor, max_abs, max_abs / scale if scale else max_abs, _cosine(want, got))


def compare_all(expected: Tensors, actual: Tensors) -> list[ErrorMetrics]:
    """The gap of every expected tensor; a missing one is infinitely far."""
    return [
        compare(name, want, actual[name]) if name in actual else _infinite(name)
        for name, want in expected.items()
    ]


def worst(gaps: Iterable[ErrorMetrics]) -> ErrorMetrics:
    """The gap with the largest relative distance, of at least one."""
    return max(gaps, key=lambda gap: gap.max_rel)


def _infinite(tensor: str) -> ErrorMetrics:
    return ErrorMetrics(tensor, float("inf"), float("inf"), -1.0)


def _cosine(want: Array, got: Array) -> float:
    norms = float(np.linalg.norm(want) * np.linalg.norm(got))
    return float(want @ got) / norms if norms else float(np.array_equal(want, got))
