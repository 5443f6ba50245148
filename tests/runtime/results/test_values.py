"""Values by name, compared value by value."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.runtime.results.values import Values


def compared(expected, actual) -> tuple[int, int]:
    agreement = Values.agreement([Values.of(expected)], [Values.of(actual)])
    return agreement.matched, agreement.total


@pytest.mark.parametrize(
    ("expected", "actual", "counts"),
    [
        ({"a": 1, "b": ["x", "y"]}, {"a": 1, "b": ["x", "y"]}, (3, 3)),
        ({"a": 1}, {"a": 2}, (0, 1)),
        ({"a": [0.0, 100.0]}, {"a": [0.05, 100.0]}, (2, 2)),
        ({"a": [0.0, 100.0]}, {"a": [0.5, 100.0]}, (1, 2)),
        ({"a": 2.0}, {"a": 2}, (1, 1)),
        ({"a": [1, 2]}, {"a": [1]}, (1, 2)),
        ({"a": 1}, {"b": 1}, (0, 2)),
        ({"a": True}, {"a": 1}, (0, 1)),
        ({"a": float("nan")}, {"a": float("nan")}, (1, 1)),
        ({"a": float("nan")}, {"a": 1.0}, (0, 1)),
        ({"a": {"b": "x"}}, {"a": "x"}, (0, 1)),
        ({}, {}, (0, 0)),
    ],
)
def test_fractions_agree_within_the_tolerance_and_all_else_exactly(expected, actual, counts):
    assert compared(expected, actual) == counts


def test_arrays_become_lists_and_cross_as_they_are():
    values = Values.of({"a": np.array([[1.5, 2]], np.float32), "b": np.int64(3), 4: (1, "x")})
    assert values.to_json() == {"a": [[1.5, 2.0]], "b": 3, "4": [1, "x"]}
    assert Values.from_arrays(values.to_arrays()) == values
    assert values.lines()[1] == "b                3"
    assert values.summary().startswith("a ")


@pytest.mark.parametrize("text", [b"[1]", b"{", b"[" * 200 + b"]" * 200, b"[" * 100_000, b"\xff"])
def test_bytes_of_a_stranger_that_are_no_values_are_refused(text):
    with pytest.raises(ValueError, match=r"."):
        Values.from_arrays({"json": np.frombuffer(text, np.uint8)})


def test_what_json_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"result\.a"):
        Values.of({"a": object()})
