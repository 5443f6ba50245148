"""Post-processing of one's own: functions, classes, and where they are found."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from backends.contract import DeployError, TensorError
from deploy.runtime import Pipeline
from deploy.runtime.bundle.manifest import PostStep
from deploy.runtime.execution import own_posts
from deploy.runtime.execution.own_posts import (
    OwnPostError,
    register_code,
    register_target,
    register_word,
    word_for_command,
)
from deploy.runtime.execution.post_steps import PostError, check_post, make_post, result_class
from deploy.runtime.results.detections import Detections
from deploy.runtime.results.values import Values
from deploy.tasks.classify.result import Classification


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch):
    monkeypatch.setattr(own_posts, "_OWN", {})
    monkeypatch.setattr(own_posts, "_TARGETS", {})


def decode(scores: Any, boxes: Any, *, top: int = 1) -> dict:
    return {"best": (-scores).argsort()[:top], "box": boxes[0]}


def classes_of(scores: Any) -> Classification:
    return Classification(scores, np.array([int(scores.argmax())]))


class Steps:
    result = Detections

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def batch(self, tensors):
        return [self.scale] * len(tensors[0])


SCORES = np.array([[1.0, 3.0, 2.0], [3.0, 1.0, 2.0]], np.float32)
BOXES = np.arange(16, dtype=np.float32).reshape(2, 2, 4)


def test_a_function_is_called_for_each_picture_with_its_tensors():
    register_code(decode, "my.decode")
    results = make_post("my.decode", {"top": 2}).batch([SCORES, BOXES])
    assert [result.to_json() for result in results] == [
        {"best": [1, 2], "box": [0.0, 1.0, 2.0, 3.0]},
        {"best": [0, 2], "box": [8.0, 9.0, 10.0, 11.0]},
    ]
    assert result_class("my.decode") is Values


def test_a_function_may_return_the_result_class_of_its_annotation(monkeypatch):
    register_code(classes_of, "my.classes")
    assert result_class("my.classes") is Classification
    assert [r.labels.tolist() for r in make_post("my.classes", {}).batch([SCORES])] == [[1], [0]]


def annotated(scores: NothingOfThisName) -> NothingEither:  # noqa: F821
    return {"sum": float(scores.sum())}


def test_annotations_that_name_nothing_are_texts():
    register_code(annotated, "my.annotated")
    assert result_class("my.annotated") is Values
    assert make_post("my.annotated", {}).batch([SCORES])[0].to_json() == {"sum": 6.0}


def test_a_class_gets_the_tensors_as_they_are():
    register_code(Steps, "my.steps")
    assert make_post("my.steps", {"scale": 2}).batch([SCORES]) == [2.0, 2.0]
    assert result_class("my.steps") is Detections


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"tops": 1}, "unknown parameter 'tops': expected top"),
        ({"top": "x"}, "top: expected int"),
        ({"scores": 1}, "unknown parameter 'scores'"),
    ],
)
def test_keyword_only_parameters_are_those_of_the_step(params, message):
    register_code(decode, "my.decode")
    with pytest.raises(PostError, match=message):
        check_post("my.decode", params)


def returns_a_list(scores: Any) -> list:
    return [scores]


def returns_values(scores: Any) -> Classification:
    return {"scores": scores}  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("function", "tensors", "message"),
    [
        (returns_a_list, [SCORES], "expected a mapping of values, got list. Annotate what it"),
        (returns_values, [SCORES], "expected Classification, got dict"),
        (decode, [SCORES, BOXES[:1]], "expected pictures along their first axis, got .*2, 3.*1, 2"),
        (returns_a_list, [np.float32(1)[()]], "expected pictures along their first axis"),
    ],
)
def test_what_does_not_fit_is_an_error_of_the_call(function, tensors, message):
    register_code(function, "my.own")
    with pytest.raises(TensorError, match=message):
        make_post("my.own", {}).batch([np.asarray(tensor) for tensor in tensors])


def fails(scores: Any) -> dict:
    return {"last": scores[99]}


def test_a_function_that_fails_is_named_with_its_line_and_without_its_values():
    register_code(fails, "my.own")
    line = fails.__code__.co_firstlineno + 1
    message = rf"'fails' fails with IndexError in line {line} of test_own_posts\.py$"
    with pytest.raises(OwnPostError, match=message):
        make_post("my.own", {}).batch([SCORES])


def test_a_step_is_named_by_module_and_callable(monkeypatch):
    module = ModuleType("my_post")
    module.decode, module.number = decode, 3
    monkeypatch.setitem(sys.modules, "my_post", module)
    assert register_target("my_post:decode") == "my_post.decode"
    assert make_post("my_post.decode", {}).batch([SCORES, BOXES])
    assert register_target("my_post:decode", "short") == "short"
    with pytest.raises(OwnPostError, match="'my_post:gone' cannot be imported"):
        register_target("my_post:gone")
    with pytest.raises(OwnPostError, match="expected a callable, got my_post:number, of int"):
        register_target("my_post:number")
    with pytest.raises(OwnPostError, match=r"expected package\.module:callable, got my_post"):
        register_target("my_post")


def test_a_step_of_ones_own_takes_the_place_of_no_other():
    register_code(decode, "classify")
    with pytest.raises(PostError, match="'classify' of your own: expected an id that no step of"):
        make_post("classify", {})


def test_a_step_that_is_nowhere_is_refused_with_the_ways_to_bring_it():
    with pytest.raises(PostError, match=r"--post MODULE:CALLABLE, .* point 'my_post\.decode'"):
        make_post("my_post.decode", {})


def test_a_step_that_this_process_alone_knows_runs_in_no_other(make_bundle):
    register_code(decode, "my.decode")
    bundle = make_bundle(post=PostStep("my.decode", ("y",), {}))
    with pytest.raises(DeployError, match=r"'my\.decode' is known to this process alone, .* as an"):
        Pipeline.open(bundle, isolate="always")
    assert Pipeline.open(bundle, trusted=True).post is not None


def test_another_command_is_told_of_the_step_that_this_one_has(monkeypatch, tmp_path):
    (tmp_path / "told_post.py").write_text("def decode(x): return {'x': x}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    assert register_word("told_post:decode") == "told_post.decode"
    assert register_word("short=told_post:decode") == "short"
    steps = [PostStep(id, ("x",), {}) for id in ("told_post.decode", "short", "classify")]
    words = ["told_post:decode", "short=told_post:decode", None]
    assert list(map(word_for_command, steps)) == words
    assert word_for_command(None) is None
    assert sys.path[-1] == str(tmp_path), "the folder hides no other module"
