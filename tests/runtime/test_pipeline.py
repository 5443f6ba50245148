"""Opening and running bundles: the chain, and one clear error for whatever is wrong with them."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backends.contract import DeployError, EngineError, TensorError
from backends.registry import UnknownBackendError
from deploy.runtime import BundleError, Pipeline
from deploy.runtime.bundle.manifest import MANIFEST, PostStep, Verification
from deploy.runtime.execution.post_steps import PostError
from tests.conftest import spec, step

X = {"x": np.array([[1, 2]], np.float32)}


def test_a_chain_runs(make_bundle):
    with Pipeline.open(make_bundle()) as pipeline:
        np.testing.assert_array_equal(pipeline.chain(X)["y"], [[2, 4]])


def test_steps_run_in_data_flow_order_whatever_their_order_in_the_manifest(make_bundle):
    steps = [(step("c", "b", "y"), 5.0), (step("a", "x", "a"), 2.0), (step("b", "a", "b"), 3.0)]
    with Pipeline.open(make_bundle(steps)) as pipeline:
        seconds: dict[str, float] = {}
        np.testing.assert_array_equal(pipeline.chain.timed(X, seconds)["y"], [[30, 60]])
    assert list(seconds) == ["a", "b", "c"]


def test_an_output_may_also_be_used_by_a_later_step(make_bundle):
    steps = [(step("a", "x", "a"), 2.0), (step("b", "a", "y"), 3.0)]
    with Pipeline.open(make_bundle(steps, outputs=(spec("a"), spec("y")))) as pipeline:
        outputs = pipeline.chain(X)
    assert {name: value.tolist() for name, value in outputs.items()} == {
        "a": [[2, 4]],
        "y": [[6, 12]],
    }


@pytest.mark.parametrize(
    ("recorded", "steps", "settled"),
    [("auto", 1, "on"), ("auto", 2, "run"), ("on", 2, "on"), ("off", 1, "off")],
)
def test_threads_spin_where_no_other_engine_is_disturbed(recorded, steps, settled, make_bundle):
    chain = [step("one", "x", "y"), step("two", "y", "z")][:steps]
    bundle = make_bundle([(replace(one, options={"spin": recorded}), 2.0) for one in chain])
    with Pipeline.open(bundle) as pipeline:
        options = [runner.artifact.options for _, runner in pipeline.chain.steps]
    assert options == [{"spin": settled}] * steps


def test_threads_replace_the_recorded_option(make_bundle):
    recorded = replace(step("one", "x", "y"), options={"threads": 4})
    with Pipeline.open(make_bundle([(recorded, 2.0)]), threads=1) as pipeline:
        ((_, runner),) = pipeline.chain.steps
    assert runner.artifact.options == {"threads": 1}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "inputs: expected x, got none"),
        ({"z": X["x"]}, "inputs: expected x, got 1 of other names"),
        ({"x": X["x"].astype(float)}, r"input 'x': expected float32\[1, 2\], got float64"),
        (
            {"x": np.zeros((2, 2), "f4")},
            r"input 'x': expected float32\[1, 2\], got float32\[2, 2\]",
        ),
    ],
)
def test_wrong_tensors_are_named(make_bundle, inputs, message):
    with Pipeline.open(make_bundle()) as pipeline, pytest.raises(TensorError, match=message):
        pipeline.chain(inputs)


def test_a_failing_step_is_named(make_bundle):
    bundle = make_bundle([(step("good", "x", "a"), 2.0), (step("bad", "a", "y"), 0.0)])
    with (
        Pipeline.open(bundle) as pipeline,
        pytest.raises(EngineError, match="step 'bad': the scaler"),
    ):
        pipeline.chain(X)


def test_engines_are_closed_at_the_end(make_bundle):
    with Pipeline.open(make_bundle()) as pipeline:
        pass
    with pytest.raises(EngineError, match="closed"):
        pipeline.chain(X)


def test_a_bundle_of_tensors_takes_no_pictures(make_bundle):
    with Pipeline.open(make_bundle()) as pipeline:
        with pytest.raises(DeployError, match="bundle of 'm' takes tensors, not pictures"):
            pipeline(np.zeros((4, 4, 3), np.uint8))
        with pytest.raises(DeployError, match="has no host step for its outputs"):
            pipeline.finish({}, None)


def test_an_unverified_bundle_opens_with_a_warning(make_bundle):
    bundle = make_bundle(verification=Verification("failed"))
    with pytest.warns(UserWarning, match="did not agree with its model"), Pipeline.open(bundle):
        pass


def test_a_verified_bundle_opens_without_a_warning(make_bundle):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Pipeline.open(make_bundle()):
            pass


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "file 'one/factor.txt' is missing"),
        (lambda path: path.write_text("2"), "file 'one/factor.txt': expected 3 bytes, got 1"),
        (
            lambda path: path.write_text("3.0"),
            "file 'one/factor.txt' was changed: expected SHA-256",
        ),
    ],
)
def test_a_damaged_file_is_found_before_any_engine_reads_it(make_bundle, damage, message):
    bundle = make_bundle()
    damage(bundle / "one" / "factor.txt")
    with pytest.raises(BundleError, match=message):
        Pipeline.open(bundle)


def edited(bundle: Path, **changes: object) -> Path:
    manifest = json.loads((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_text(json.dumps({**manifest, **changes}))
    return bundle


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 3}, "expected format 2, got format 3. Update this runtime"),
        ({"format": 1}, "expected format 2, got format 1. Make the bundle again"),
        ({"format": None}, "has no format number"),
        ({"colour": "red"}, "manifest.json: unknown field 'colour'"),
        ({"classes": "abc"}, "manifest.json.classes: expected an array"),
        ({"files": {}}, "file 'one/factor.txt' is used, but not listed in files"),
        (
            {"verification": {"status": "fine"}},
            "status: expected 'passed' or 'failed' or 'pending' or 'not run'",
        ),
    ],
)
def test_a_manifest_that_does_not_hold_is_refused(make_bundle, changes, message):
    with pytest.raises(BundleError, match=message):
        Pipeline.open(edited(make_bundle(), **changes))


def test_a_file_path_never_reaches_beyond_the_bundle(make_bundle):
    steps = [(replace(step("one", "x", "y"), files=("one/factor.txt", "../../secret")), 2.0)]
    with pytest.raises(BundleError, match=r"file '\.\./\.\./secret' is used, but not listed"):
        Pipeline.open(make_bundle(steps))


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([step("a", "q", "y")], "tensor 'q', needed by a, is made by no step"),
        ([step("a", "x", "z")], "tensor 'y', needed by the chain's outputs, is made by no step"),
        ([step("a", "x", "y"), step("b", "x", "y")], "tensor 'y' is made twice, by a and b"),
        ([step("a", "x", "x")], "tensor 'x' is made twice, by the chain's inputs and a"),
        ([step("a", "b", "y"), step("b", "y", "b")], "steps wait for each other: a, b"),
    ],
)
def test_a_chain_that_does_not_flow_is_refused(make_bundle, steps, message):
    with pytest.raises(BundleError, match=message):
        Pipeline.open(make_bundle([(one, 1.0) for one in steps]))


def test_a_backend_is_looked_up_never_imported_by_its_name(make_bundle):
    bundle = make_bundle([(replace(step("one", "x", "y"), backend="os"), 2.0)])
    with pytest.raises(UnknownBackendError, match=r"backend: expected .* got .os."):
        Pipeline.open(bundle)


def test_a_host_step_is_looked_up_never_imported_by_its_name(make_bundle):
    bundle = make_bundle(post=PostStep("os.system", ("y",), {}))
    with pytest.raises(PostError, match=r"host step 'os.system': expected one of .*yolov3\.maps"):
        Pipeline.open(bundle)


def test_wrong_parameters_of_a_host_step_are_named(make_bundle):
    bundle = make_bundle(post=PostStep("yolov3.maps", ("y",), {"colour": 1}))
    with pytest.raises(PostError, match=r"host step .yolov3\.maps. does not take its parameters"):
        Pipeline.open(bundle)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "expected a folder with manifest.json, got nothing"),
        (lambda path: path.touch(), "expected a folder with manifest.json, got a file"),
        (lambda path: path.mkdir(), "expected a folder with manifest.json, got a folder without"),
    ],
)
def test_what_is_no_bundle_is_refused(tmp_path, make, message):
    make(tmp_path / "b")
    with pytest.raises(BundleError, match=message):
        Pipeline.open(tmp_path / "b")


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe"])
def test_a_manifest_that_is_not_json_is_refused(tmp_path, text):
    (tmp_path / MANIFEST).write_bytes(text)
    with pytest.raises(BundleError, match="is not JSON"):
        Pipeline.open(tmp_path)
