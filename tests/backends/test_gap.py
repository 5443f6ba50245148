"""Gaps: how far two tensors are from each other."""

import math

import numpy as np
import pytest

from backends.acceptance import TOLERANCES
from backends.error_metrics import compare, compare_all, worst


def test_equal_tensors_have_no_gap():
    gap = compare("x", np.arange(4.0), np.arange(4.0))
    assert (gap.max_abs, gap.max_rel, round(gap.cosine, 12)) == (0, 0, 1)


def test_the_relative_gap_is_of_the_largest_magnitude():
    gap = compare("x", np.array([-10.0, 1.0]), np.array([-10.0, 2.0]))
    assert gap.max_abs == 1
    assert gap.max_rel == pytest.approx(0.1)


def test_whole_numbers_are_equal_or_not_however_large_they_are():
    large = np.array([32_000, 7], np.int64)
    assert compare("x", large, large).max_rel == 0
    assert compare("x", large, large - [1, 0]).max_rel == 1
    assert not TOLERANCES["bf16"].admits(compare("x", large, large - [0, 1]))


@pytest.mark.parametrize(
    "actual", [np.zeros(3), np.array([1.0, math.nan]), np.array([1, math.inf])]
)
def test_another_shape_or_a_nan_is_infinitely_far(actual):
    assert compare("x", np.ones(2), actual).max_rel == math.inf


def test_a_missing_tensor_is_infinitely_far_even_if_empty():
    gaps = compare_all({"x": np.ones(0), "y": np.ones(1)}, {})
    assert [gap.max_rel for gap in gaps] == [math.inf, math.inf]


def test_the_worst_gap_is_found():
    gaps = compare_all({"x": np.ones(2), "y": np.ones(2)}, {"x": np.ones(2), "y": np.zeros(2)})
    assert worst(gaps).tensor == "y"


def test_a_nan_is_never_within_tolerance():
    assert not TOLERANCES["fp16"].admits(compare("x", np.ones(1), np.array([math.nan])))


def test_zeros_agree_with_zeros_only():
    assert compare("x", np.zeros(2), np.zeros(2)).cosine == 1
    assert compare("x", np.zeros(2), np.ones(2)).cosine == 0
