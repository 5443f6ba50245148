"""Error metrics of a tensor against its reference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from backends.bounds import Name
from backends.contract import Array, Tensors


@dataclass(frozen=True)
class ErrorMetrics:
    """The error of a tensor against its reference.

    Attributes:
        tensor: the tensor's name.
        max_abs: largest absolute difference.
        max_rel: ``max_abs`` over the largest magnitude in the reference. Of whole numbers and
            booleans, which are equal or not, it is ``max_abs`` itself: 0, or at least 1.
        cosine: cosine similarity of both, 1.0 for equal tensors.

    Examples:
        >>> ErrorMetrics("boxes", max_abs=0.5, max_rel=0.001, cosine=0.9999)
        ErrorMetrics(tensor='boxes', max_abs=0.5, max_rel=0.001, cosine=0.9999)
    """

    tensor: Name
    max_abs: float
    max_rel: float
    cosine: float


def compare(tensor: str, expected: Array, actual: Array) -> ErrorMetrics:
    """The error of ``actual``; infinite where it has another shape or a NaN.

    An infinity, as in a mask or the logarithm of 0, agrees with the same one at the same place
    alone; the metrics are those of the other elements.

    Args:
        tensor: the tensor's name.
        expected: the reference, of any shape and numeric dtype.
        actual: the value to compare with it.

    Examples:
        >>> metrics = compare("boxes", np.array([0.0, 4.0]), np.array([0.0, 5.0]))
        >>> metrics.max_abs, metrics.max_rel, metrics.cosine
        (1.0, 0.25, 1.0)
    """
    if expected.shape != actual.shape:
        return _infinite(tensor)
    want, got = expected.astype(np.float64).ravel(), actual.astype(np.float64).ravel()
    if not np.isfinite(got).all():
        finite = np.isfinite(want)
        if not (np.isfinite(got[finite]).all() and np.array_equal(want[~finite], got[~finite])):
            return _infinite(tensor)
        want, got = want[finite], got[finite]
    if want.size == 0:
        return ErrorMetrics(tensor, 0.0, 0.0, 1.0)
    max_abs = float(np.abs(want - got).max())
    scale = float(np.abs(want).max()) if expected.dtype.kind not in "iub" else 1.0
    return ErrorMetrics(tensor, max_abs, max_abs / scale if scale else max_abs, _cosine(want, got))


def compare_all(expected: Tensors, actual: Tensors) -> list[ErrorMetrics]:
    """The error of every expected tensor; of a missing one it is infinite.

    Examples:
        >>> expected = {"boxes": np.ones(2), "scores": np.ones(1)}
        >>> metrics = compare_all(expected, {"boxes": np.ones(2)})
        >>> [(error.tensor, error.max_rel) for error in metrics]
        [('boxes', 0.0), ('scores', inf)]
    """
    return [
        compare(name, want, actual[name]) if name in actual else _infinite(name)
        for name, want in expected.items()
    ]


def worst(metrics: Iterable[ErrorMetrics]) -> ErrorMetrics:
    """The metrics with the largest relative error, of at least one tensor.

    Examples:
        >>> near, far = ErrorMetrics("a", 0.1, 0.1, 1.0), ErrorMetrics("b", 0.2, 0.3, 1.0)
        >>> worst([near, far]).tensor
        'b'
    """
    return max(metrics, key=lambda error: error.max_rel)


def _infinite(tensor: str) -> ErrorMetrics:
    return ErrorMetrics(tensor, float("inf"), float("inf"), -1.0)


def _cosine(want: Array, got: Array) -> float:
    norms = float(np.linalg.norm(want) * np.linalg.norm(got))
    return float(want @ got) / norms if norms else float(np.array_equal(want, got))
