"""The signature of a step's code is the schema of its parameters, also of other packages' steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest

from backends.bounds import Between, Length
from backends.codec import FormatError
from deploy.runtime.execution.step_params import MAX_SIZE, read_params

if TYPE_CHECKING:
    from nowhere import Unknown


@dataclass
class Window:
    """A type that JSON does not have."""

    side: int


class Step:
    """A step with one parameter of each kind."""

    def __init__(
        self,
        count: int,
        share: float = 0.5,
        names: Sequence[str] = (),
        pair: tuple[int, int] | None = None,
        by_class: Mapping[str, list[float]] | None = None,
        mode: Literal["fast", "exact"] = "fast",
        window: Window | None = None,
        size: Annotated[int, Between(1, 64)] = 7,
        label: Annotated[str, Length(1, 3)] = "a",
        anything: Any = None,
        untyped=0,
    ) -> None: ...


def test_values_arrive_as_the_annotations_say():
    params = {"count": 2, "share": 1, "names": ["a"], "pair": [1, 2], "by_class": {"dog": [1]}}
    read = read_params(Step, params)
    assert read == {**params, "pair": (1, 2)}
    assert isinstance(read["share"], float)
    assert isinstance(read["by_class"]["dog"][0], float)


def test_tuples_of_a_recipe_in_python_are_arrays():
    assert read_params(Step, {"count": 1, "names": ("a",), "pair": (1, 2)})["pair"] == (1, 2)


def test_what_json_has_no_type_for_is_left_to_the_step():
    params = {"count": 1, "window": {"side": 3}, "anything": [{"a": 1}], "untyped": "text"}
    assert read_params(Step, params) == params


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 1.0}, r"count: expected int, got 1\.0"),
        ({"count": True}, "count: expected int, got True"),
        ({"count": None}, "count: expected int, got None"),
        ({"share": "half"}, "share: expected float, got 'half'"),
        ({"share": float("nan")}, r"parameters\.share: expected a finite number, got nan"),
        ({"names": "ab"}, "names: expected an array, got 'ab'"),
        ({"names": ["a", 1]}, r"names\[1\]: expected a string, got 1"),
        ({"pair": [1]}, r"pair: expected 2 values, got \[1\]"),
        ({"pair": 1}, "pair: expected an array or null, got 1"),
        ({"by_class": {"dog": ["1"]}}, r"by_class\.dog\[0\]: expected float, got '1'"),
        ({"mode": "slow"}, "mode: expected 'fast' or 'exact', got 'slow'"),
        ({"size": 65}, "size: expected int from 1 to 64, got 65"),
        ({"size": 6.5}, r"size: expected int from 1 to 64, got 6\.5"),
        ({"label": "long"}, "label: expected a string of length 1 to 3, got one of length 4"),
        ({"anything": 10**30}, r"parameters\.anything: expected an integer of at most 64 bits"),
        ({"anything": {1: 2}}, r"parameters\.anything: expected texts as the keys of an object"),
        ({"anything": b"bytes"}, r"parameters\.anything: expected a JSON value, got bytes"),
        ({"anything": "\ud800"}, r"parameters\.anything: expected valid text"),
        ({"untyped": [0] * MAX_SIZE}, "size: expected at most 1,048,576 values and characters"),
        ({"other": 1}, "unknown parameter 'other': expected count, share, names, pair, by_class"),
    ],
)
def test_anything_else_is_refused_by_name(change, message):
    with pytest.raises(FormatError, match=message):
        read_params(Step, {"count": 1, **change})


def test_a_missing_parameter_is_named():
    with pytest.raises(FormatError, match="parameter 'count' is missing"):
        read_params(Step, {})


def test_arguments_that_are_given_otherwise_are_no_parameters():
    def step(segments: Mapping[str, Any], count: int) -> None: ...

    assert read_params(step, {"count": 1}, ["segments"]) == {"count": 1}
    with pytest.raises(FormatError, match="unknown parameter 'segments': expected count"):
        read_params(step, {"count": 1, "segments": {}}, ["segments"])


def unresolved(count: Unknown, share: float = 0.0) -> None: ...


@pytest.mark.parametrize(
    "factory", [unresolved, partial(Step, share=0.1), lambda count, **more: None, dict]
)
def test_code_whose_annotations_do_not_resolve_still_gets_its_parameters(factory):
    assert read_params(factory, {"count": 1}) == {"count": 1}


def test_code_that_takes_any_name_gets_every_name():
    assert read_params(lambda **more: None, {"a": 1, "b": [2]}) == {"a": 1, "b": [2]}
