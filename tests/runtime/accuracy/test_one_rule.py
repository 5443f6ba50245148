"""Verification, check, build, tune and accuracy debugging apply one acceptance rule."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backends.acceptance import MIN_MATCHED, TOLERANCES, AcceptanceRule
from backends.contract import Artifact, TensorSpec
from backends.conversion_files import write_artifact
from deploy.recipe.schema import Recipe, VerifyRecipe
from deploy.runtime import engine_build
from deploy.runtime.accuracy.sample_check import sample_agrees
from deploy.runtime.accuracy.step_errors import recorded_rule
from deploy.runtime.bundle.manifest import PostStep, Verification, read_manifest, write_manifest
from deploy.runtime.bundle.sample import DETECTIONS, IMAGE, step_sample_name
from deploy.runtime.commands.check import check
from deploy.runtime.engine_build import build_engines
from deploy.runtime.execution import post_steps
from deploy.runtime.pipeline import Pipeline
from deploy.runtime.results.detections import Detections
from deploy.runtime.vision.image import Pre
from deploy.verify import ReferenceData, Verdict, expected_results_only, verify
from tests.conftest import entry, made_here

BOXES = 100
SPECS = {name: (TensorSpec(name, "float32", (1, 3, 4, 4)),) for name in "xy"}
STEP = Artifact("only", "scaler", ("only/factor.txt",), SPECS["x"], SPECS["y"])
WHITE = np.ones((1, 3, 4, 4), np.float32)
SHARES = [(3, "194 of 200", False), (1, "198 of 200", True)]  # 97 % and 99 %


class Boxes:
    """A row of boxes, of which as many are out of place as the chain's number is above 1000."""

    def batch(self, tensors):
        displaced = round((float(tensors[0].ravel()[0]) - 1000) * 10)
        left = 20.0 * np.arange(BOXES) + 5 * (np.arange(BOXES) < displaced)
        boxes = np.stack([left, 0 * left, left + 10, 0 * left + 10], 1).astype(np.float32)
        return [Detections(boxes, np.full(BOXES, 0.9, np.float32), np.zeros(BOXES, np.int64))]


@pytest.fixture
def bundle_with(make_bundle, monkeypatch):
    """A bundle that misplaces so many of the 100 boxes; its tensors agree."""
    monkeypatch.setattr(post_steps, "_shipped", lambda *_: {"test.boxes": Boxes})

    def make(displaced: int, **notes: float) -> Path:
        bundle = make_bundle(
            [(STEP, 1000 + displaced / 10)],
            inputs=SPECS["x"],
            outputs=SPECS["y"],
            pre=Pre("x", 4, 4, (0.0,) * 3, (255.0,) * 3),
            post=PostStep("test.boxes", ("y",), {}),
            verification=Verification("passed", notes=notes),
        )
        Image.new("RGB", (4, 4), "white").save(bundle / IMAGE)
        expected = Boxes().batch([WHITE * 1000])[0]
        (bundle / DETECTIONS).write_text(json.dumps(expected.to_json()))
        (bundle / step_sample_name("only")).parent.mkdir()
        for name in ("sample/tensors.npz", step_sample_name("only")):
            np.savez(bundle / name, **{"input/x": WHITE, "output/y": WHITE * 1000})
        paths = [
            path for path in bundle.rglob("*") if path.is_file() and path.name != "manifest.json"
        ]
        files = {path.relative_to(bundle).as_posix(): entry(path) for path in paths}
        write_manifest(bundle, replace(read_manifest(bundle), files=files))
        return made_here(bundle)

    return make


def pending(bundle: Path, monkeypatch) -> Path:
    """The bundle as it comes from the desk with ``backend.build=device``."""
    factor = (bundle / "only/factor.txt").read_text()
    (bundle / "only/factor.txt").rename(bundle / "only/only.onnx")
    manifest = read_manifest(bundle)
    files = {name: kept for name, kept in manifest.files.items() if name != "only/factor.txt"}
    files["only/only.onnx"] = replace(entry(bundle / "only/only.onnx"), kind="source")
    step = replace(STEP, files=(), source=("only/only.onnx",))
    write_manifest(bundle, replace(manifest, files=files, steps=(step,)))
    made_here(bundle)

    def convert(segment, backend, options, precision, sample, out, limits, rule):
        artifact = replace(STEP, files=("factor.txt",))
        out.mkdir()
        (out / "factor.txt").write_text(factor)
        write_artifact(out, artifact)
        return artifact

    monkeypatch.setattr(engine_build, "convert_in_child", convert)
    return bundle


def reference(bundle: Path) -> ReferenceData:
    values = {"x": WHITE, "y": WHITE * 1000}
    return ReferenceData(lambda inputs: values, values, [bundle / IMAGE], None)


def verdict_of(bundle: Path, min_matched: float = MIN_MATCHED) -> Verdict:
    data = replace(reference(bundle), rule=AcceptanceRule(min_matched=min_matched))
    return verify(bundle, read_manifest(bundle), data)


@pytest.mark.parametrize(("displaced", "count", "good"), SHARES)
def test_verification_takes_98_percent_of_the_detections(displaced, count, good, bundle_with):
    verdict = verdict_of(bundle_with(displaced))
    assert verdict.verification.status == ("passed" if good else "failed")
    assert verdict.verification.notes == {
        "detections_matched": float(count.split()[0]),
        "detections": 200.0,
    }
    if not good:
        message = f"expected at least 98% of detections matched, got {count}"
        assert message in str(verdict.problem)


@pytest.mark.parametrize(("displaced", "count", "good"), SHARES)
def test_check_and_tune_take_98_percent_of_the_detections(
    displaced, count, good, bundle_with, capsys
):
    bundle = bundle_with(displaced)
    assert check(bundle, None) is good
    mark = "ok " if good else "BAD"
    assert (
        f"\n{mark} {count} detections matched, counted from both sides, " in capsys.readouterr().out
    )
    with Pipeline.open(bundle) as pipeline:
        assert sample_agrees(bundle, pipeline) is good


@pytest.mark.parametrize(("displaced", "count", "good"), SHARES)
def test_build_takes_98_percent_of_the_detections(
    displaced, count, good, bundle_with, capsys, monkeypatch
):
    bundle = pending(bundle_with(displaced), monkeypatch)
    assert build_engines(bundle, 60) is good
    assert f"{count} detections matched" in capsys.readouterr().out
    verification = read_manifest(bundle).verification
    assert verification.status == ("passed" if good else "failed")
    assert verification.notes == {}


def test_the_share_of_the_recipe_goes_with_the_bundle(bundle_with, capsys, monkeypatch):
    bundle = bundle_with(3)
    verdict = verdict_of(bundle, min_matched=0.95)
    assert verdict.verification.status == "passed"
    assert verdict.verification.notes["min_matched"] == 0.95
    write_manifest(bundle, replace(read_manifest(bundle), verification=verdict.verification))
    assert check(made_here(bundle), None)
    assert build_engines(pending(bundle, monkeypatch), 60)
    assert recorded_rule(read_manifest(bundle)) == AcceptanceRule(min_matched=0.95)
    assert check(bundle, None), "build has forgotten the share"


def test_a_stricter_share_of_the_recipe_counts_too(bundle_with, capsys):
    assert not check(bundle_with(1, min_matched=1.0), None)
    assert "BAD 198 of 200 detections matched" in capsys.readouterr().out


def test_a_bundle_that_the_device_builds_carries_the_share_of_the_recipe(bundle_with):
    bundle = bundle_with(0)
    data, manifest = reference(bundle), read_manifest(bundle)
    waiting = expected_results_only(manifest, replace(data, rule=AcceptanceRule(min_matched=0.5)))
    assert waiting.verification == Verification("pending", notes={"min_matched": 0.5})
    assert expected_results_only(manifest, data).verification.notes == {}


def test_a_share_that_is_not_a_whole_percentage_is_written_in_full(bundle_with):
    problem = verdict_of(bundle_with(3), min_matched=0.985).problem
    assert "expected at least 98.5% of detections matched" in str(problem)


def test_an_extra_detection_counts_as_a_missing_one_does(bundle_with, capsys, monkeypatch):
    class More(Boxes):
        def batch(self, tensors):
            (right,) = super().batch([WHITE * 1000])
            boxes = np.concatenate([right.boxes, right.boxes[:5] + 10_000])
            count = len(boxes)
            scores, labels = np.full(count, 0.9, np.float32), np.zeros(count, np.int64)
            return [Detections(boxes, scores, labels)]

    bundle = bundle_with(0)
    monkeypatch.setattr(post_steps, "_shipped", lambda *_: {"test.boxes": More})
    assert not check(bundle, None)
    assert "BAD 200 of 205 detections matched" in capsys.readouterr().out


@pytest.mark.parametrize("precision", TOLERANCES)
def test_the_rule_has_the_tolerances_of_the_precisions(precision):
    assert AcceptanceRule().tolerance(precision) == TOLERANCES[precision]


def test_a_chain_has_the_tolerance_of_its_loosest_step():
    rule = AcceptanceRule(cosine=0.5)
    assert rule.chain_tolerance(["fp32", "bf16", "fp16"]) == rule.tolerance("bf16")
    assert rule.tolerance("bf16") == replace(TOLERANCES["bf16"], cosine=0.5)


def test_where_nothing_is_found_the_results_agree():
    assert AcceptanceRule().results_agree(0, 0)
    assert AcceptanceRule().results_agree(98, 100)
    assert not AcceptanceRule().results_agree(97, 100)


def test_the_shipped_configuration_leaves_the_share_to_the_rule():
    from deploy.cli.compose import compose

    assert VerifyRecipe().min_matched == MIN_MATCHED
    recipes: list[Recipe] = [
        compose(["+model=yolov3"]),
        compose(["+model=yolov3", "verify.min_matched=0.9"]),
    ]
    assert [recipe.verify.min_matched for recipe in recipes] == [MIN_MATCHED, 0.9]
