"""Error metrics where numbers end: infinities, NaNs, shapes."""

from __future__ import annotations

import numpy as np
import pytest

from backends.error_metrics import compare

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("expected", "actual", "max_abs"),
    [
        ([0.0, -INF, 4.0], [0.0, -INF, 5.0], 1.0),
        ([INF, -INF], [INF, -INF], 0.0),
        ([1.0, 2.0], [1.0, 2.0], 0.0),
    ],
)
def test_an_infinity_agrees_with_the_same_one(expected, actual, max_abs):
    metrics = compare("x", np.array(expected, np.float32), np.array(actual, np.float32))
    assert metrics.max_abs == max_abs
    assert np.isfinite(metrics.max_rel)
    assert metrics.cosine == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ([0.0, -INF], [0.0, INF]),
        ([0.0, -INF], [-INF, -INF]),
        ([0.0, -INF], [0.0, -3e38]),
        ([0.0, 1.0], [0.0, INF]),
        ([0.0, 1.0], [0.0, NAN]),
        ([0.0, NAN], [0.0, NAN]),
        ([NAN, 1.0], [0.0, 1.0]),
        ([0.0, 1.0], [[0.0, 1.0]]),
    ],
)
def test_anything_else_that_is_not_finite_never_agrees(expected, actual):
    metrics = compare("x", np.array(expected, np.float32), np.array(actual, np.float32))
    assert not metrics.max_rel <= 1e9
