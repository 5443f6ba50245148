"""A bundle whose engines the device builds: refused before, verified after, never half-built."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from deploy.runtime import engine_build
from deploy.runtime.bundle.integrity import verify_all, verify_files
from deploy.runtime.bundle.manifest import BundleError, read_manifest
from deploy.runtime.bundle.trust import is_own
from deploy.runtime.engine_build import build_engines
from deploy.runtime.isolation.proxies import IsolatedChain
from deploy.runtime.pipeline import Pipeline
from tests.helpers.commands import error_of, files, output_of, run_here
from tests.helpers.interruptions import interrupt_once
from tests.helpers.two_segment_net import DEPLOY, write_net

COMMAND = [*DEPLOY, "+backend=onnxruntime", "backend.build=device"]


@pytest.fixture(scope="module")
def pending_deployment(tmp_path_factory) -> tuple[Path, str]:
    """A bundle in which the body has still to be built, and what the desk said."""
    folder = tmp_path_factory.mktemp("desk")
    write_net(folder)
    head = ["+backend@chain.head=onnxruntime", "chain.head.options.threads=1"]
    return folder / "bundle", output_of(*COMMAND, *head, "bundle=bundle", cwd=folder)


@pytest.fixture
def pending_bundle(pending_deployment, tmp_path) -> Path:
    return Path(shutil.copytree(pending_deployment[0], tmp_path / "bundle"))


def test_the_desk_says_what_is_left_to_do(pending_deployment):
    assert (
        "agreement   not measured yet: the device builds and verifies body" in pending_deployment[1]
    )
    assert "python -m deploy.runtime build bundle (on the device)" in pending_deployment[1]
    assert "latency" not in pending_deployment[1]


def test_it_carries_the_segment_of_what_is_to_be_built_alone(pending_bundle):
    body, head = read_manifest(pending_bundle).steps
    assert body.pending and body.source == ("body/body.onnx",)
    assert not head.pending and not head.source
    assert read_manifest(pending_bundle).verification.status == "pending"


def test_it_does_not_open_before_and_says_how(pending_bundle):
    with pytest.raises(
        BundleError, match=r"engine of 'body' is not built yet\. On the device.*build"
    ):
        Pipeline.open(pending_bundle)


def test_finish_builds_and_verifies_it(pending_bundle, capsys):
    assert build_engines(pending_bundle, 60)
    manifest = read_manifest(pending_bundle)
    assert manifest.verification.status == "passed"
    assert {item.step for item in manifest.verification.gaps} == {"body", "head", "chain"}
    assert "building body ..." in capsys.readouterr().out
    with Pipeline.open(pending_bundle) as pipeline:
        image = np.zeros((1, 3, 16, 16), np.float32)
        assert pipeline.chain({"image": image})["logits"].shape == (1, 2)
    listed = {pending_bundle / name for name in manifest.files} | {pending_bundle / "manifest.json"}
    assert {path for path in pending_bundle.rglob("*") if path.is_file()} == listed


def test_engines_of_somebody_else_are_verified_in_a_process_of_their_own(
    pending_bundle, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    opened: list[type] = []
    honest = Pipeline.of

    def of(*words, **named):
        opened.append(type((pipeline := honest(*words, **named)).chain))
        return pipeline

    monkeypatch.setattr(Pipeline, "of", of)
    assert build_engines(pending_bundle, 60)
    assert opened == [IsolatedChain]
    assert not is_own(read_manifest(pending_bundle))


def test_what_is_built_from_a_bundle_made_here_was_made_here(pending_bundle):
    assert is_own(read_manifest(pending_bundle))
    assert build_engines(pending_bundle, 60)
    assert is_own(read_manifest(pending_bundle))


@pytest.mark.parametrize("step", ["write_manifest", "_remove_signature", "_remove_unlisted"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interruption_at_the_end_leaves_a_whole_bundle(pending_bundle, monkeypatch, step, when):
    interrupt_once(monkeypatch, engine_build, step, when=when)
    with pytest.raises(KeyboardInterrupt):
        build_engines(pending_bundle, 60)
    manifest = read_manifest(pending_bundle)
    verify_all(pending_bundle, manifest)
    assert manifest.verification.status == "passed"


def test_it_can_be_finished_again_elsewhere(pending_bundle):
    assert build_engines(pending_bundle, 60) and build_engines(pending_bundle, 60)
    assert read_manifest(pending_bundle).verification.status == "passed"


def test_every_engine_of_a_segment_is_built_and_verified(tmp_path, monkeypatch):
    write_net(tmp_path)
    output_of(*COMMAND, "backend.precision=[fp32,fp16]", "bundle=bundle", cwd=tmp_path)
    bundle = tmp_path / "bundle"
    assert all(one.pending for one in read_manifest(bundle).artifacts)
    assert build_engines(bundle, 60)
    manifest = read_manifest(bundle)
    assert not any(one.pending for one in manifest.artifacts)
    assert [one.precision for one in manifest.artifacts] == ["fp32", "fp32", "fp16", "fp16"]
    compared = [item.step for item in manifest.verification.gaps]
    assert compared == [
        "body", "head", "body on onnxruntime-fp16", "head on onnxruntime-fp16", "chain",
    ]  # fmt: skip
    listed = {bundle / name for name in manifest.files} | {bundle / "manifest.json"}
    assert {path for path in bundle.rglob("*") if path.is_file()} == listed


def test_a_segment_that_was_changed_is_refused_before_anything_is_built(pending_bundle):
    (pending_bundle / "body" / "body.onnx").write_bytes(b"x" * 100)
    before = files(pending_bundle)
    with pytest.raises(BundleError, match=r"file 'body/body\.onnx'"):
        build_engines(pending_bundle, 60)
    assert files(pending_bundle) == before


def test_a_converter_that_fails_leaves_the_bundle_as_it_was(pending_bundle):
    text = (pending_bundle / "manifest.json").read_text()
    broken = text.replace('"optimize": "basic"', '"optimize": "never"', 1)
    (pending_bundle / "manifest.json").write_text(broken)
    message = error_of("deploy.runtime", "build", pending_bundle, cwd=pending_bundle)
    assert "cannot convert segment 'body' to onnxruntime: option 'optimize'" in message
    assert "option 'optimize' of onnxruntime: expected off|basic|extended" in message
    assert (pending_bundle / "manifest.json").read_text() == broken


@pytest.mark.parametrize("moment", ["before the manifest", "after the manifest"])
def test_an_interruption_leaves_the_bundle_as_it_was_or_as_it_is_built(
    pending_bundle, monkeypatch, moment
):
    write = engine_build.write_manifest

    def interrupted(bundle, manifest):
        if moment == "after the manifest":
            write(bundle, manifest)
        raise KeyboardInterrupt

    monkeypatch.setattr(engine_build, "write_manifest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_engines(pending_bundle, 120.0)
    manifest = read_manifest(pending_bundle)
    listed = {name: one for name, one in manifest.files.items() if one.kind != "picture"}
    verify_files(pending_bundle, manifest, listed)
    assert manifest.steps[0].pending == (moment == "before the manifest")


def test_what_does_not_agree_is_marked_and_the_exit_code_says_so(pending_bundle):
    data = json.loads((pending_bundle / "manifest.json").read_text())
    sample = pending_bundle / data["sample"]
    with np.load(sample) as stored:
        tensors = {name: stored[name] for name in stored.files}
    np.savez(sample, **{**tensors, "output/logits": tensors["output/logits"] + 1})
    from deploy.runtime.bundle.integrity import hash_file as content_of

    entry = content_of(sample)
    data["files"][data["sample"]] |= {"sha256": entry.sha256, "size": entry.size}
    (pending_bundle / "manifest.json").write_text(json.dumps(data))
    ended = run_here("deploy.runtime", "build", pending_bundle, cwd=pending_bundle)
    assert ended.returncode == 1
    assert "BAD the chain does not agree with the model at 'logits'" in ended.stdout
    assert read_manifest(pending_bundle).verification.status == "failed"


def test_a_bundle_without_segments_has_nothing_to_finish(make_bundle):
    with pytest.raises(BundleError, match=r"has no engines to build.*backend\.build=device"):
        build_engines(make_bundle(), 60)


def test_build_on_the_device_is_refused_where_the_desks_files_run_anywhere(tmp_path):
    message = error_of(
        "deploy", "+model=yolov3", "+backend=ncnn", "backend.build=device", cwd=tmp_path
    )
    assert "build=device for ncnn: expected desk, got device" in message


def test_an_evaluation_needs_engines_on_the_desk(tmp_path):
    message = error_of(
        "deploy", "+model=yolov3", "+backend=onnxruntime", "backend.build=device",
        "verify.eval=true", cwd=tmp_path,
    )  # fmt: skip
    assert "verify.eval=true with build=device" in message
