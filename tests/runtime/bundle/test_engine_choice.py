"""A bundle may carry several engines for a step; one of them runs, and all are verified."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from backends.contract import DeployError
from deploy.runtime import Pipeline
from deploy.runtime.bundle import trust
from deploy.runtime.bundle.engine_choice import Choice, engines_by_step, forget_tuned, write_tuned
from deploy.runtime.bundle.integrity import verified_meanwhile
from deploy.runtime.bundle.manifest import BundleError, read_manifest
from deploy.runtime.commands.check import check
from deploy.runtime.tuning.candidates import default_candidate, usable_engines
from tests.conftest import other, spec, step
from tests.test_verify import X, verdict_of

ONE = step("one", "x", "y")


@pytest.fixture
def two_engine_bundle(make_bundle):
    threaded = replace(ONE, options={"threads": 4})
    return make_bundle([(threaded, 2.0)], [(other(threaded), 2.5)])


def run(bundle, **asked):
    with Pipeline.open(bundle, **asked) as pipeline:
        return pipeline.chain({"x": X})["y"].tolist()


def test_the_first_engine_runs_unless_another_is_chosen(two_engine_bundle):
    assert list(engines_by_step(read_manifest(two_engine_bundle))["one"]) == [
        "scaler-fp32",
        "scaler-fp16",
    ]
    assert run(two_engine_bundle) == (X * 2).tolist()
    assert run(two_engine_bundle, choices={"one": Choice("scaler-fp16")}) == (X * 2.5).tolist()


def test_what_was_tuned_runs_unless_it_is_asked_otherwise(two_engine_bundle):
    manifest = read_manifest(two_engine_bundle)
    write_tuned(manifest, {"one": Choice("scaler-fp16", 1)})
    assert run(two_engine_bundle) == (X * 2.5).tolist()
    assert (
        run(two_engine_bundle, choices={}) == run(two_engine_bundle, threads=1) == (X * 2).tolist()
    )
    forget_tuned(manifest)
    assert run(two_engine_bundle) == (X * 2).tolist()


def test_versions_of_engines_are_looked_up_only_where_this_bundle_was_tuned(
    two_engine_bundle, monkeypatch
):
    asked = []
    monkeypatch.setattr(trust, "_version", lambda name: asked.append(name) or "1.0")
    manifest = read_manifest(two_engine_bundle)
    changed = {name: replace(file, sha256="0" * 64) for name, file in manifest.files.items()}
    write_tuned(replace(manifest, files=changed), {"one": Choice(threads=1)})  # another bundle's
    asked.clear()
    run(two_engine_bundle, trusted=True)
    assert asked == []
    write_tuned(manifest, {"one": Choice("scaler-fp16", 1)})
    asked.clear()
    assert run(two_engine_bundle, trusted=True) == (X * 2.5).tolist()
    assert asked


def test_engines_of_one_backend_on_two_devices_are_told_apart(make_bundle, capsys):
    files = ("one/scaler-gpu-fp32/factor.txt",)
    bundle = make_bundle(others=[(replace(ONE, files=files, options={"device": "gpu"}), 2.0)])
    manifest = read_manifest(bundle)
    assert list(engines_by_step(manifest)["one"]) == ["scaler-fp32", "scaler-gpu-fp32"]
    with Pipeline.open(bundle, choices={"one": Choice("scaler-gpu-fp32")}) as pipeline:
        assert pipeline.chain.notes() == ["one: all of it on the gpu"]
    engines, left_out = usable_engines(manifest)
    assert list(engines["one"]) == ["scaler-fp32"]
    assert left_out == ["one on scaler-gpu-fp32: no gpu here"]
    write_tuned(manifest, {"one": Choice("scaler-gpu-fp32")})
    assert check(bundle, None)
    assert "    one: all of it on the gpu\n" in capsys.readouterr().out


def test_an_opened_bundle_says_what_runs(two_engine_bundle):
    with Pipeline.open(two_engine_bundle, choices={"one": Choice("scaler-fp16", 2)}) as pipeline:
        (running,) = pipeline.manifest.steps
    assert (running.precision, running.options) == ("fp16", {"threads": 2})


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"one": Choice("scaler-bf16")}, "engine of step 'one': expected one of scaler-fp32, scal"),
        ({"two": Choice()}, "step 'two': expected one of one, got two"),
    ],
)
def test_what_a_bundle_does_not_carry_cannot_be_chosen(two_engine_bundle, choices, message):
    with pytest.raises(BundleError, match=message):
        Pipeline.open(two_engine_bundle, choices=choices)


def unbuilt(artifact):
    return replace(artifact, files=(), source=("segment.onnx",))


def test_a_step_whose_own_engine_does_not_run_here_may_run_on_another(two_engine_bundle):
    manifest = read_manifest(two_engine_bundle)
    waiting = replace(manifest, steps=tuple(map(unbuilt, manifest.steps)))
    engines, left_out = usable_engines(waiting)
    assert left_out == ["one on scaler-fp32: not built yet"]
    assert default_candidate(engines) == {"one": Choice("scaler-fp16", 4)}


def test_a_step_that_runs_on_nothing_here_is_named_with_the_reasons(two_engine_bundle):
    manifest = read_manifest(two_engine_bundle)
    waiting, others = (tuple(map(unbuilt, of)) for of in (manifest.steps, manifest.alternatives))
    message = r"step 'one' of 'm' has no engine that runs here: got one on scaler-fp32: not built"
    with pytest.raises(DeployError, match=message):
        usable_engines(replace(manifest, steps=waiting, alternatives=others))


def test_one_engine_without_threads_leaves_nothing_to_choose(make_bundle):
    with pytest.raises(DeployError, match=r"has no engine with threads, and no engines to choose"):
        usable_engines(read_manifest(make_bundle()))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (replace(other(ONE), name="two"), "step of an alternative: expected one of one, got 'two'"),
        (other(ONE, "fp32"), "two engines of 'one' are of one kind"),
        (other(ONE, "fp8"), "precision of 'one': expected one of bf16, fp16, fp32, got 'fp8'"),
        (
            other(ONE, inputs=(spec("z"),)),
            "an alternative of 'one': expected the inputs and outputs of its step, got others",
        ),
    ],
)
def test_an_alternative_that_does_not_stand_for_its_step_is_refused(make_bundle, wrong, message):
    with pytest.raises(BundleError, match=message):
        Pipeline.open(make_bundle(others=[(wrong, 2.0)]))


def test_no_engine_is_loaded_from_a_file_that_was_changed(two_engine_bundle):
    (two_engine_bundle / "one" / "scaler-fp16" / "factor.txt").write_text("3.5")
    with pytest.raises(BundleError, match=r"'one/scaler-fp16/factor\.txt' was changed"):
        Pipeline.open(two_engine_bundle, trusted=True, choices={"one": Choice("scaler-fp16")})


@pytest.mark.parametrize("also_wrong", [False, True])
def test_a_changed_file_is_the_first_error_however_the_rest_ends(two_engine_bundle, also_wrong):
    manifest = read_manifest(two_engine_bundle)
    files = [name for artifact in manifest.steps for name in artifact.files]
    (two_engine_bundle / files[0]).write_text("3.5")
    with (
        pytest.raises(BundleError, match=rf"'{re.escape(files[0])}' was changed"),
        verified_meanwhile(two_engine_bundle, manifest, files),
    ):
        assert not also_wrong


def test_an_error_of_the_block_is_raised_where_the_files_are_whole(two_engine_bundle):
    with (
        pytest.raises(ValueError, match="of the block"),
        verified_meanwhile(two_engine_bundle, read_manifest(two_engine_bundle), []),
    ):
        raise ValueError("of the block")


def test_every_engine_is_measured_against_the_model(two_engine_bundle):
    verdict = verdict_of(two_engine_bundle, {"x": X, "y": X * 2})
    assert [gap.step for gap in verdict.verification.gaps] == [
        "one", "one on scaler-fp16", "chain",
    ]  # fmt: skip
    assert "segment 'one on scaler-fp16' does not agree with PyTorch at 'y'" in str(verdict.problem)


def test_engines_of_half_precision_have_their_own_bound(make_bundle):
    close = make_bundle([(ONE, 2.0)], [(other(ONE), 2.02)])
    assert verdict_of(close, {"x": X, "y": X * 2}).problem is None


def test_the_sample_decides_for_what_runs(two_engine_bundle, capsys):
    write_tuned(read_manifest(two_engine_bundle), {"one": Choice("scaler-fp16")})
    assert not check(two_engine_bundle, None)
    assert check(two_engine_bundle, threads=1)
    assert "BAD" in capsys.readouterr().out
