"""Bundles with a state: what is carried, what a caller sees, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backends.contract import DeployError, TensorError
from backends.conversion_files import write_sample
from deploy.runtime import BundleError, Pipeline
from deploy.runtime.bundle.integrity import file_entry
from deploy.runtime.bundle.manifest import MANIFEST, StateTensor, read_manifest, write_manifest
from deploy.runtime.bundle.trust import remember_own
from tests.conftest import spec

CARRIED = (StateTensor("x", "y"),)


@pytest.fixture
def doubling_bundle(make_bundle) -> Path:
    """A bundle whose whole input is state, which doubles in each call; it begins with 1 and 2."""
    return with_state(make_bundle(), np.array([[1, 2]], np.float32))


def with_state(bundle: Path, value: np.ndarray, name: str = "x") -> Path:
    write_sample(bundle / "state.npz", (replace(spec("x"), name=name),), (), {name: value})
    manifest = read_manifest(bundle)
    files = {**manifest.files, "state.npz": file_entry(bundle / "state.npz", "state")}
    stateful = replace(manifest, files=files, state=CARRIED, initial_state="state.npz")
    write_manifest(bundle, stateful)
    remember_own(stateful)
    return bundle


def test_a_caller_neither_gives_nor_gets_the_state(doubling_bundle):
    with Pipeline.open(doubling_bundle) as pipeline:
        assert (pipeline.manifest.caller_inputs, pipeline.manifest.caller_outputs) == ((), ())
        stream = pipeline.open_stream()
        assert stream({}) == {}
        assert stream.values["x"].tolist() == [[2, 4]]
        stream({})
        assert stream.values["x"].tolist() == [[4, 8]]
        stream.reset()
        assert stream.values["x"].tolist() == [[1, 2]]


def test_the_chain_itself_still_takes_and_gives_the_state(doubling_bundle):
    with Pipeline.open(doubling_bundle) as pipeline:
        assert pipeline.chain({"x": np.array([[3, 5]], np.float32)})["y"].tolist() == [[6, 10]]


def test_state_that_a_caller_gives_is_refused(doubling_bundle):
    message = "inputs x: expected no state: it is carried between the calls"
    with (
        Pipeline.open(doubling_bundle) as pipeline,
        pytest.raises(TensorError, match=message),
    ):
        pipeline({"x": np.zeros((1, 2), np.float32)})


def test_an_error_leaves_the_state_as_it_was(doubling_bundle):
    with Pipeline.open(doubling_bundle) as pipeline:
        stream = pipeline.open_stream()
        with pytest.raises(TensorError, match="inputs: expected none, got 1 of other names"):
            stream({"z": np.zeros(1, np.float32)})
        assert stream.values["x"].tolist() == [[1, 2]]


def test_a_state_may_be_set_if_it_fits(doubling_bundle):
    with Pipeline.open(doubling_bundle) as pipeline:
        stream = pipeline.open_stream()
        stream.values = {"x": np.array([[5, 6]], np.float32)}
        stream({})
        assert stream.values["x"].tolist() == [[10, 12]]
        with pytest.raises(TensorError, match=r"input 'x': expected float32\[1, 2\], got float64"):
            stream.values = {"x": np.zeros((1, 2))}


def test_a_pipeline_runs_tensors_with_and_without_state(make_bundle):
    with Pipeline.open(make_bundle()) as pipeline:
        pipeline.reset_state()  # there is none
        assert pipeline({"x": np.array([[1, 2]], np.float32)})["y"].tolist() == [[2, 4]]


@pytest.mark.parametrize(
    ("value", "name", "message"),
    [
        (
            np.zeros((1, 3), np.float32),
            "x",
            r"as float32\[1, 2\], got float32\[1, 3\]",
        ),
        (np.zeros((1, 2), np.float32), "z", r"'state\.npz': expected 'x' as .* got none"),
    ],
)
def test_first_values_that_do_not_fit_are_refused(make_bundle, value, name, message):
    bundle = make_bundle()
    with pytest.raises(BundleError, match=message):
        Pipeline.open(with_state(bundle, value, name))


def test_first_values_that_were_changed_are_refused(doubling_bundle):
    (doubling_bundle / "state.npz").write_bytes(b"\0" * 300)
    with pytest.raises(BundleError, match=r"state\.npz"):
        Pipeline.open(doubling_bundle)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": [{"input": "q", "output": "y"}]}, "state: expected one of x, got 'q'"),
        ({"state": [{"input": "x", "output": "q"}]}, "state: expected one of y, got 'q'"),
        ({"state": [{"input": "x", "output": "y"}] * 2}, "state: expected each tensor once"),
        ({"state": []}, "initial_state: expected a file where there is a state"),
        ({"initial_state": None}, "initial_state: expected a file where there is a state"),
        ({"initial_state": "sample/tensors.npz"}, "expected state, got sample"),
        (
            {"outputs": [{"name": "y", "dtype": "float32", "shape": [1, 3]}]},
            "state 'x': expected an input and an output of one fixed shape",
        ),
    ],
)
def test_a_manifest_whose_state_does_not_hold_is_refused(doubling_bundle, changes, message):
    manifest = json.loads((doubling_bundle / MANIFEST).read_text())
    (doubling_bundle / MANIFEST).write_text(json.dumps({**manifest, **changes}))
    with pytest.raises(DeployError, match=message):
        Pipeline.open(doubling_bundle)
