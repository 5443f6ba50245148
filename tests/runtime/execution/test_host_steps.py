"""Host steps between engines: in order, by their registered ids, and each failure by its name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backends.contract import Artifact, Dynamic, EngineError, TensorSpec
from deploy.runtime.bundle.manifest import BundleError, HostStep, read_manifest
from deploy.runtime.execution import host_steps, loading
from deploy.runtime.execution.host_steps import HostStepError
from deploy.runtime.pipeline import Pipeline
from tests.conftest import spec, step

X = {"x": np.ones((1, 2), np.float32)}
ROWS = Dynamic("rows", 0, 2, 8)


class Add:
    """``target = source + amount``, or whatever ``does`` makes of it."""

    def __init__(self, source, target, amount=1.0, does=None):
        self.source, self.target, self.amount, self.does = source, target, amount, does

    def __call__(self, inputs):
        found = inputs[self.source] + np.float32(self.amount)
        return {self.target: self.does(found) if self.does else found}


class Repeat:
    """Calls a segment until its first number is above a limit."""

    def __init__(self, limit, segments):
        self.limit, self.segments = limit, segments

    def __call__(self, inputs):
        value, turns = inputs["x"], 0
        while value[0, 0] <= self.limit:
            (value,) = self.segments["double"]({"a": value}).values()
            turns += 1
        return {"y": value, "turns": np.array([turns], np.int64)}


@pytest.fixture(autouse=True)
def steps(monkeypatch):
    """The ids that are registered; tests may add to them."""
    known = {"test.add": Add, "test.repeat": Repeat}
    monkeypatch.setattr(host_steps, "_shipped", lambda: known)
    return known


def add(name, source, target, **params):
    return HostStep(
        name, "test.add", (spec(source),), (spec(target),),
        {"source": source, "target": target, **params},
    )  # fmt: skip


def test_engines_and_host_steps_run_in_the_order_of_their_data(make_bundle):
    engines = [(step("last", "b", "y"), 10.0), (step("first", "x", "a"), 2.0)]
    bundle = make_bundle(engines, host=(add("middle", "a", "b"),))
    with Pipeline.open(bundle) as pipeline:
        assert [one.name for one, _ in pipeline.chain.steps] == ["first", "middle", "last"]
        seconds = {}
        assert (pipeline.chain.timed(X, seconds)["y"] == 30).all()
        assert list(seconds) == ["first", "middle", "last"]


def test_the_manifest_keeps_them(make_bundle):
    bundle = make_bundle([(step("only", "b", "y"), 1.0)], host=(add("before", "x", "b"),))
    assert read_manifest(bundle).host == (add("before", "x", "b"),)


def test_a_cycle_is_refused_by_its_steps(make_bundle):
    bundle = make_bundle([(step("one", "b", "a"), 1.0)], host=(add("other", "a", "b"),))
    changed = replace(read_manifest(bundle), outputs=(spec("a"),))
    with pytest.raises(BundleError, match="steps wait for each other: one, other"):
        Pipeline.of(bundle, changed, trusted=True)


def test_a_tensor_that_nobody_makes_is_named(make_bundle):
    bundle = make_bundle([(step("one", "x", "y"), 1.0)], host=(add("other", "nothing", "z"),))
    with pytest.raises(BundleError, match="tensor 'nothing', needed by other, is made by no step"):
        Pipeline.open(bundle)


def test_an_id_that_nobody_registered_is_refused_with_those_there_are(make_bundle):
    unknown = replace(add("odd", "x", "b"), id="os.system")
    bundle = make_bundle([(step("one", "b", "y"), 1.0)], host=(unknown,))
    with pytest.raises(HostStepError, match=r"host step 'odd': expected one of .*got 'os\.system'"):
        Pipeline.open(bundle)


def test_parameters_that_its_code_does_not_take_are_refused(make_bundle):
    bundle = make_bundle([(step("one", "b", "y"), 1.0)], host=(add("odd", "x", "b", times=3),))
    with pytest.raises(HostStepError, match=r"'odd' \(test\.add\) does not take its parameters"):
        Pipeline.open(bundle)


def test_they_are_refused_before_any_engine_is_loaded(make_bundle, monkeypatch):
    bundle = make_bundle([(step("one", "b", "y"), 1.0)], host=(add("odd", "x", "b", times=3),))
    monkeypatch.setattr(loading, "load", lambda *_, **__: pytest.fail("an engine was loaded"))
    with pytest.raises(HostStepError, match="unknown parameter 'times': expected "):
        Pipeline.open(bundle, trusted=True)


def test_two_steps_of_one_name_are_refused(make_bundle):
    bundle = make_bundle([(step("one", "b", "y"), 1.0)], host=(add("one", "x", "b"),))
    with pytest.raises(BundleError, match="two steps are called 'one'"):
        Pipeline.open(bundle)


def broken(_):
    raise KeyError("lost")


@pytest.mark.parametrize(
    ("does", "message"),
    [
        (broken, "step 'odd': KeyError: 'lost'"),
        (lambda found: found[:, :1], r"output 'b': expected float32\[1, 2\], got float32\[1, 1\]"),
        (lambda found: found.astype("f8"), r"output 'b': .* got float64\[1, 2\]"),
        (lambda found: found * np.nan, "step 'odd': output 'b' holds a NaN"),
    ],
)
def test_a_step_that_goes_wrong_is_named_and_the_chain_stays_usable(
    make_bundle, steps, does, message
):
    sick = [True]
    steps["test.sick"] = lambda source, target: Add(
        source, target, does=lambda found: does(found) if sick[0] else found
    )
    odd = replace(add("odd", "x", "b"), id="test.sick")
    bundle = make_bundle([(step("one", "b", "y"), 1.0)], host=(odd,))
    with Pipeline.open(bundle) as pipeline:
        with pytest.raises(HostStepError, match=message):
            pipeline.chain(X)
        sick[0] = False
        assert (pipeline.chain(X)["y"] == 2).all()


def test_infinities_of_both_signs_are_no_nan(make_bundle, steps):
    steps["test.inf"] = lambda source, target: Add(
        source, target, does=lambda _: np.array([[np.inf, -np.inf]], np.float32)
    )
    odd = replace(add("odd", "x", "b"), id="test.inf")
    bundle = make_bundle([(step("one", "b", "y"), 1.0)], host=(odd,))
    with Pipeline.open(bundle) as pipeline:
        assert np.isinf(pipeline.chain(X)["y"]).all()


def test_a_host_step_calls_a_segment_as_often_as_it_likes(make_bundle):
    turns = TensorSpec("turns", "int64", (1,))
    loop = HostStep(
        "loop", "test.repeat", (spec("x"),), (spec("y"), turns), {"limit": 10}, ("double",)
    )
    bundle = make_bundle(
        [(step("double", "a", "b"), 2.0)], host=(loop,), outputs=(spec("y"), turns)
    )
    with Pipeline.open(bundle) as pipeline:
        found = pipeline.chain(X)
        assert [one.name for one, _ in pipeline.chain.called] == ["double"]
    assert found["y"][0, 0] == 16 and found["turns"] == 4


def test_a_call_of_a_segment_that_there_is_not_is_refused(make_bundle):
    loop = HostStep("loop", "test.repeat", (spec("x"),), (spec("y"),), {"limit": 1}, ("triple",))
    bundle = make_bundle([(step("double", "a", "b"), 2.0)], host=(loop,))
    with pytest.raises(BundleError, match="what a host step calls: expected one of double, got"):
        Pipeline.open(bundle)


def some(source, target) -> Artifact:
    """An engine step over any number of rows, up to eight."""
    names = [TensorSpec(name, "float32", (ROWS, 2)) for name in (source, target)]
    return replace(step("rows", source, target), inputs=(names[0],), outputs=(names[1],))


@pytest.mark.parametrize("count", [0, 1, 3, 8])
def test_any_number_of_rows_may_come_out_and_an_engine_never_sees_none(make_bundle, steps, count):
    steps["test.rows"] = lambda: lambda inputs: {"a": np.ones((count, 2), np.float32)}
    rows = TensorSpec("a", "float32", (ROWS, 2))
    host = HostStep("choose", "test.rows", (spec("x"),), (rows,))
    engine = some("a", "y")
    bundle = make_bundle([(engine, 2.0)], host=(host,), outputs=engine.outputs)
    with Pipeline.open(bundle) as pipeline:
        found = pipeline.chain(X)["y"]
    assert found.shape == (count, 2) and found.dtype == np.float32 and (found == 2).all()


def test_an_output_whose_size_is_unknown_without_rows_is_an_error(make_bundle, steps):
    steps["test.rows"] = lambda: lambda inputs: {"a": np.ones((0, 2), np.float32)}
    rows = TensorSpec("a", "float32", (ROWS, 2))
    host = HostStep("choose", "test.rows", (spec("x"),), (rows,))
    engine = replace(some("a", "y"), outputs=(spec("y"),))
    bundle = make_bundle([(engine, 2.0)], host=(host,))
    with (
        Pipeline.open(bundle) as pipeline,
        pytest.raises(EngineError, match=r"step 'rows': nothing to compute 'y' of.*got a\[0, 2\]"),
    ):
        pipeline.chain(X)
