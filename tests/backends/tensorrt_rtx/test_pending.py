"""Built on a desk without a GPU, verified on the device: a bundle of TensorRT for RTX."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from backends import tensorrt_rtx
from backends.contract import Artifact, EngineError
from deploy.runtime.bundle.integrity import hash_file
from deploy.runtime.bundle.manifest import BundleError, Manifest, read_manifest
from deploy.runtime.engine_build import build_engines
from deploy.runtime.pipeline import Pipeline
from tests.conftest import made_here
from tests.helpers.commands import error_of, files, output_of, run_here
from tests.helpers.two_segment_net import DEPLOY, write_net

RTX = [*DEPLOY, "+backend=tensorrt_rtx", "bundle=bundle"]
NO_GPU = "the NVIDIA driver finds no GPU here (CUDA error 100)"
PORTABLE = "8.0, 8.6, 8.9, 12.0 and later"
NOT_VERIFIED = "the engine of 'body', 'head' is not verified yet. On the device that runs it: "


@pytest.fixture(scope="module")
def desk() -> Iterator[Callable[..., str]]:
    """Deploys into ``bundle`` of a folder as on a machine without a GPU; what was printed."""

    def deploy(folder: Path, *words: str) -> str:
        write_net(folder)
        with pytest.MonkeyPatch.context() as patch:
            # this process has found its GPUs already; the converters' processes find none
            patch.setattr(tensorrt_rtx, "driver_fault", lambda: NO_GPU)
            ended = run_here(*RTX, *words, cwd=folder, SIM_CUDA_DEVICES="")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    yield deploy


@pytest.fixture(scope="module")
def rtx_deployment(desk, tmp_path_factory) -> tuple[Path, str]:
    """A bundle whose engines were built and not run, and what the desk said."""
    folder = tmp_path_factory.mktemp("desk")
    return folder / "bundle", desk(folder)


@pytest.fixture
def rtx_bundle(rtx_deployment, driver, tmp_path) -> Path:
    """A copy of it, on a device with a GPU."""
    return Path(shutil.copytree(rtx_deployment[0], tmp_path / "bundle"))


def engine_hashes(bundle: Path) -> dict[str, str]:
    return {path.name + path.parent.name: hash_file(path).sha256 for path in bundle.rglob("*.rtx")}


def steps(manifest: Manifest) -> tuple[Artifact, ...]:
    assert [step.name for step in manifest.steps] == ["body", "head"]
    return manifest.steps


def test_the_desk_says_in_one_line_what_is_left_to_do(rtx_deployment):
    assert (
        "agreement   not measured yet: the device verifies body, head (built here: tensorrt_rtx "
        f"1.7.1.116, compute_capability {PORTABLE}, layers 2 Float)" in rtx_deployment[1]
    )
    assert "python -m deploy.runtime build bundle (on the device)" in rtx_deployment[1]
    assert "latency" not in rtx_deployment[1] and "max_rel" not in rtx_deployment[1]


def test_the_manifest_says_by_what_the_engines_were_built_and_that_none_was_run(rtx_bundle):
    manifest = read_manifest(rtx_bundle)
    assert manifest.verification.status == "pending"
    for step in steps(manifest):
        assert step.built and step.unverified and step.pending and not step.source
        assert step.tools["tensorrt_rtx"] == "1.7.1.116"
        assert step.tools["compute_capability"] == PORTABLE
        assert (rtx_bundle / step.files[0]).is_file()


@pytest.mark.parametrize(
    "words", [("run", "picture.png"), ("check",), ("bench", "--runs", "1")], ids=lambda it: it[0]
)
def test_no_command_runs_it_before_it_is_verified(rtx_bundle, words):
    command, *rest = words
    message = error_of("deploy.runtime", command, rtx_bundle, *rest, cwd=rtx_bundle.parent)
    assert f"{NOT_VERIFIED}python -m deploy.runtime build {rtx_bundle}" in message


def test_a_program_does_not_open_it_before_either(rtx_bundle):
    with pytest.raises(BundleError, match=NOT_VERIFIED):
        Pipeline.open(rtx_bundle)


def test_the_device_verifies_the_desks_engines_and_builds_none(rtx_bundle, driver):
    before = engine_hashes(rtx_bundle)
    assert len(before) == 2
    text = output_of("deploy.runtime", "build", rtx_bundle, cwd=rtx_bundle.parent)
    assert "building" not in text and "BAD" not in text
    assert engine_hashes(rtx_bundle) == before
    manifest = read_manifest(rtx_bundle)
    assert manifest.verification.status == "passed"
    assert {item.step for item in manifest.verification.gaps} == {"body", "head", "chain"}
    assert not any(step.unverified or step.pending for step in steps(manifest))
    listed = {rtx_bundle / name for name in manifest.files} | {rtx_bundle / "manifest.json"}
    assert {path for path in rtx_bundle.rglob("*") if path.is_file()} == listed
    assert driver.live("context") == 0


def test_what_was_verified_runs(rtx_bundle):
    assert build_engines(rtx_bundle, 60)
    assert "BAD" not in output_of("deploy.runtime", "check", rtx_bundle, cwd=rtx_bundle.parent)
    text = output_of("deploy.runtime", "bench", rtx_bundle, "--runs", "1", cwd=rtx_bundle.parent)
    assert "body" in text and "head" in text
    with Pipeline.open(rtx_bundle) as pipeline:
        image = np.zeros((1, 3, 16, 16), np.float32)
        assert pipeline.chain({"image": image})["logits"].shape == (1, 2)


def test_what_was_verified_has_nothing_left_to_build(rtx_bundle):
    assert build_engines(rtx_bundle, 60)
    with pytest.raises(BundleError, match="has no engines to build or verify"):
        build_engines(rtx_bundle, 60)


def change_weights(bundle: Path, step: str) -> None:
    """Exchange a step's engine for one of a model with one other weight, hash and all."""
    from tensorrt_rtx_bindings import _plan

    name = f"{step}/engine.rtx"
    plan, data = _plan.unpack((bundle / name).read_bytes())
    model = onnx.ModelProto.FromString(data)
    weight = next(one for one in model.graph.initializer if len(one.dims) == 4)
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] += 1
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    (bundle / name).write_bytes(_plan.pack(plan, model.SerializeToString()))
    update_entry(bundle, name)


def update_entry(bundle: Path, name: str) -> None:
    """Let the manifest say what a file is now."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    entry = hash_file(bundle / name)
    manifest["files"][name] |= {"sha256": entry.sha256, "size": entry.size}
    (bundle / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("step", ["body", "head"])
def test_an_engine_that_computes_something_else_is_caught_and_its_step_named(rtx_bundle, step):
    change_weights(rtx_bundle, step)
    before = engine_hashes(rtx_bundle)
    ended = run_here("deploy.runtime", "build", rtx_bundle, cwd=rtx_bundle.parent)
    assert ended.returncode == 1
    assert f"BAD segment '{step}' does not agree with the model" in ended.stdout
    manifest = read_manifest(rtx_bundle)
    assert manifest.verification.status == "failed"
    assert engine_hashes(rtx_bundle) == before
    wrong = {item.step for item in manifest.verification.gaps if item.gap.max_rel > 1e-3}
    assert wrong == {step, "chain"}


def test_an_engine_that_fails_on_the_device_leaves_the_bundle_pending(rtx_bundle, monkeypatch):
    import tensorrt_rtx_bindings as trt

    monkeypatch.setattr(trt.IExecutionContext, "execute_async_v3", lambda *_: False)
    before = (made_here(rtx_bundle) / "manifest.json").read_bytes()
    message = error_of("deploy.runtime", "build", rtx_bundle, cwd=rtx_bundle)
    assert "step 'body': TensorRT for RTX failed" in message
    assert (rtx_bundle / "manifest.json").read_bytes() == before


def test_a_damaged_engine_is_refused_before_it_is_loaded(rtx_bundle):
    engine = rtx_bundle / "body" / "engine.rtx"
    engine.write_bytes(engine.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"file 'body/engine\.rtx': expected"):
        build_engines(rtx_bundle, 60)


def test_a_device_without_a_gpu_cannot_verify_it(rtx_bundle, monkeypatch):
    monkeypatch.setattr(tensorrt_rtx, "driver_fault", lambda: NO_GPU)
    before = files(rtx_bundle), (rtx_bundle / "manifest.json").read_bytes()
    with pytest.raises(EngineError) as caught:
        build_engines(rtx_bundle, 60)
    assert str(caught.value) == (
        f"'tensorrt_rtx' cannot run step 'body' here: {NO_GPU}. Build it on the machine that is to "
        "run it."
    )
    assert (files(rtx_bundle), (rtx_bundle / "manifest.json").read_bytes()) == before


@pytest.mark.slow
def test_a_device_with_another_gpu_refuses_it_with_what_it_was_built_for(desk, driver, tmp_path):
    desk(tmp_path, "backend.options.targets=[sm120]")
    bundle = tmp_path / "bundle"
    before = (bundle / "manifest.json").read_bytes()
    message = error_of("deploy.runtime", "build", bundle, cwd=bundle)
    assert (
        "the engine of 'body' cannot be loaded here: unsupported compute capability: expected "
        "TensorRT for RTX 1.7.1.116 and compute capability 12.0, got TensorRT for RTX 1.7.1.116 "
        "and compute capability 9.0" in message
    )
    assert (bundle / "manifest.json").read_bytes() == before


@pytest.mark.slow
def test_beside_engines_that_ran_on_the_desk_only_the_others_are_pending(desk, driver, tmp_path):
    text = desk(tmp_path, "+backend@chain.head=onnxruntime")
    assert (
        "the device verifies body (built here: tensorrt_rtx 1.7.1.116, compute_capability" in text
    )
    body, head = steps(read_manifest(tmp_path / "bundle"))
    assert body.unverified and not head.unverified
    assert build_engines(tmp_path / "bundle", 60)
    assert read_manifest(tmp_path / "bundle").verification.status == "passed"


@pytest.mark.slow
def test_every_precision_of_a_segment_is_verified(desk, driver, tmp_path):
    desk(tmp_path, "backend.precision=[fp32,fp16]")
    bundle = tmp_path / "bundle"
    assert all(one.unverified for one in read_manifest(bundle).artifacts)
    assert build_engines(bundle, 60)
    manifest = read_manifest(bundle)
    assert [one.precision for one in manifest.artifacts] == ["fp32", "fp32", "fp16", "fp16"]
    assert not any(one.pending for one in manifest.artifacts)


@pytest.mark.slow
def test_the_device_may_build_too(desk, driver, tmp_path):
    text = desk(tmp_path, "backend.build=device", "backend.options.targets=current")
    assert "not measured yet: the device builds and verifies body, head" in text
    assert list((tmp_path / "bundle").rglob("*.rtx")) == []
    assert build_engines(tmp_path / "bundle", 60)
    for step in steps(read_manifest(tmp_path / "bundle")):
        assert step.tools["compute_capability"] == "9.0" and not step.pending


def test_an_evaluation_is_refused_where_the_engines_do_not_run(driver, tmp_path, monkeypatch):
    words = ["deploy", "+model=yolov3", "+backend=tensorrt_rtx", "verify.eval=true"]
    refusal = "verify.eval=true with tensorrt_rtx: this machine cannot run its engines: "
    for_others = error_of(*words, "backend.options.targets=[sm120]", cwd=tmp_path)
    assert f"{refusal}its GPU has compute capability 9.0, and targets=sm120 are" in for_others
    monkeypatch.setattr(tensorrt_rtx, "driver_fault", lambda: NO_GPU)
    message = error_of(*words, cwd=tmp_path)
    assert f"{refusal}{NO_GPU}. Leave verify.eval out" in message


@pytest.mark.slow
def test_a_desk_with_another_gpu_than_the_targets_leaves_it_to_the_device(driver, tmp_path):
    write_net(tmp_path)
    text = output_of(*RTX, "backend.options.targets=[sm120]", cwd=tmp_path)
    assert "agreement   not measured yet: the device verifies body, head (built here" in text
    manifest = read_manifest(tmp_path / "bundle")
    assert manifest.verification.status == "pending"
    assert all(step.unverified for step in steps(manifest))


@pytest.mark.slow
def test_a_desk_with_a_gpu_verifies_it_itself(driver, tmp_path):
    write_net(tmp_path)
    text = output_of(*RTX, cwd=tmp_path)
    assert "agreement   max_rel" in text and "latency" in text
    manifest = read_manifest(tmp_path / "bundle")
    assert manifest.verification.status == "passed"
    assert not any(step.pending for step in steps(manifest))
