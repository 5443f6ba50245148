"""Host steps in the ranking of steps."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.runtime.bundle.manifest import (
    HostStep,
)
from deploy.runtime.execution import host_steps
from tests.conftest import spec, step
from tests.helpers.blame_bundles import X, chain_of, ranking, refusal, said, sealed


class Times:
    def __init__(self, factor, source, target, segments=None):
        self.factor, self.source, self.target = factor, source, target
        self.segments = segments

    def __call__(self, inputs):
        if self.segments is not None:
            inputs = {self.source: self.segments["s1"]({"t0": inputs[self.source]})["t1"]}
        return {self.target: inputs[self.source] * np.float32(self.factor)}


@pytest.fixture
def hosting(make_bundle, monkeypatch):
    """A bundle of two segments and the host step ``host`` behind them, which may call ``s1``."""
    monkeypatch.setattr(host_steps, "_shipped", lambda: {"test.times": Times})

    def made(does, factor, calls=()):
        steps = chain_of(*does, 1.0)[:2]
        source = "t0" if calls else "t1"
        params = {"factor": factor, "source": source, "target": "y"}
        host = HostStep("host", "test.times", (spec(source),), (spec("y"),), params, calls)
        bundle = make_bundle(steps, host=(host,))
        with_work_and_end(bundle, steps, (2.0, 3.0), 30.0)
        return bundle

    return made


def with_work_and_end(bundle, steps, right, end):
    values = {"x": X, "t0": X * right[0], "t1": X * right[0] * right[1]}
    samples = bundle.with_name("bundle.work") / "artifacts"
    samples.mkdir(parents=True)
    for one, _ in steps:
        taken, given = one.inputs[0].name, one.outputs[0].name
        sides = {f"input/{taken}": values[taken], f"output/{given}": values[given]}
        np.savez(samples / f"{one.name}.sample.npz", **sides)
    np.savez(bundle / "sample/tensors.npz", **{"input/x": X, "output/y": X * np.float32(end)})
    sealed(bundle)


def test_a_host_step_is_one_more_kind_of_step(hosting, capsys):
    text = said(capsys, hosting([2.0, 3.0], factor=6.0))
    assert text.startswith(
        "The step with the largest effect is host step 'host': with the reference's"
    )
    assert ranking(text) == ["host", "s0", "s1"]


def test_a_host_step_has_no_graph_to_bisect(hosting):
    error = refusal(hosting([2.0, 3.0], factor=6.0), "--bisect")
    assert "host step 'host' is ranked first, and has no graph to bisect. Name a segment" in error


def test_a_segment_that_a_host_step_calls_comes_before_it(hosting, capsys):
    bundle = hosting([2.0, 3.3], factor=5.0, calls=("s1",))
    text = said(capsys, bundle)
    assert text.startswith(
        "The step with the largest effect is segment 's1': with the reference's inputs its error is"
    )
    assert "With the outputs of host step 'host' from the reference the chain's error goes" in text
    assert "Also host step 'host': with the reference's inputs its error is" in text
    assert ranking(text) == ["s1", "host", "s0"]
    assert "called by a host step" in text


def test_what_a_host_step_gives_counts_as_right_where_the_reference_has_no_value(
    make_bundle, monkeypatch, capsys
):
    monkeypatch.setattr(host_steps, "_shipped", lambda: {"test.times": Times})
    params = {"factor": 1.0, "source": "x", "target": "hidden"}
    first = HostStep("first", "test.times", (spec("x"),), (spec("hidden"),), params)
    params = {"factor": 1.0, "source": "hidden", "target": "t0"}
    second = HostStep("second", "test.times", (spec("hidden"),), (spec("t0"),), params)
    steps = [(step("s0", "t0", "y"), 2.2)]
    bundle = make_bundle(steps, host=(first, second))
    samples = bundle.with_name("bundle.work") / "artifacts"
    samples.mkdir(parents=True)
    np.savez(samples / "s0.sample.npz", **{"input/t0": X, "output/y": X * 2})
    np.savez(bundle / "sample/tensors.npz", **{"input/x": X, "output/y": X * 2})
    text = said(capsys, sealed(bundle))
    assert text.startswith("The step with the largest effect is segment 's0'")
    assert ranking(text)[0] == "s0"
