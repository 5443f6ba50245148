"""A bundle that does not do what PyTorch does is named, segment by segment, and marked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backends.contract import Dynamic, TensorSpec
from deploy.partition.host_steps import select_post_step
from deploy.recipe.schema import ModelRecipe, PostRecipe
from deploy.runtime.accuracy.step_errors import VerificationError, shape_violation, step_errors
from deploy.runtime.bundle.manifest import read_manifest
from deploy.runtime.results.detections import Detections
from deploy.verify import ReferenceData, verify
from tests.conftest import step

X = np.array([[1, 2]], np.float32)


def verdict_of(bundle, values, **precision):
    manifest = read_manifest(bundle)
    steps = tuple(replace(one, **precision) for one in manifest.steps)
    evidence = ReferenceData(lambda inputs: values, values, (), None)
    return verify(bundle, replace(manifest, steps=steps), evidence)


@pytest.fixture
def two_step_bundle(make_bundle):
    return make_bundle([(step("body", "x", "a"), 2.0), (step("head", "a", "y"), 3.0)])


def test_a_faithful_bundle_passes_with_the_gap_of_every_step(two_step_bundle):
    verdict = verdict_of(two_step_bundle, {"x": X, "a": X * 2, "y": X * 6})
    assert verdict.problem is None
    assert verdict.verification.status == "passed"
    assert [gap.step for gap in verdict.verification.gaps] == ["body", "head", "chain"]


def test_the_segment_that_is_wrong_is_named_and_not_the_one_that_inherits_it(two_step_bundle):
    verdict = verdict_of(two_step_bundle, {"x": X, "a": X * 2, "y": X * 7})
    assert verdict.verification.status == "failed"
    assert isinstance(verdict.problem, VerificationError)
    message = str(verdict.problem)
    assert "segment 'head' does not agree with PyTorch at 'y'" in message
    assert "expected max_rel <= 0.001" in message and "marked unverified" in message


def test_half_precision_has_its_own_tolerance(two_step_bundle):
    values = {"x": X, "a": X * 2, "y": X * 6.1}
    assert verdict_of(two_step_bundle, values).verification.status == "failed"
    assert verdict_of(two_step_bundle, values, precision="fp16").verification.status == "passed"


def found(*scores: float, x: float = 0.0) -> Detections:
    boxes = [[x + 20 * i, 0, x + 20 * i + 10, 10] for i in range(len(scores))]
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.zeros(len(scores), np.int64),
    )


def test_agreement_counts_confident_detections_from_both_sides():
    shared = Detections.agreement([found(0.9, 0.8, 0.1)], [found(0.9)])
    assert (shared.matched, shared.total) == (2, 3)
    assert Detections.agreement([found()], [found(0.2)]).share == 1.0
    assert Detections.agreement([found(0.9)], [found(0.9, x=5)]).share == 0.0


def test_the_host_step_is_chosen_by_where_the_chain_ends():
    posts = [PostRecipe(["head:input"], "raw"), PostRecipe(["head:output"], "decoded")]
    model = ModelRecipe("m", "a:b", post=posts)
    marks = {
        "maps": ["neck:output.0", "head:input.maps.0"],
        "boxes": ["head:output.boxes"],
        "other": ["neck:output.x"],
        "unmarked": [],
    }
    chosen = {name: select_post_step(model, [name], marks) for name in marks}
    assert chosen["maps"] is not None and chosen["maps"].id == "raw"
    assert chosen["boxes"] is not None and chosen["boxes"].id == "decoded"
    assert chosen["other"] is None and chosen["unmarked"] is None


@pytest.mark.parametrize("change", ["step", "outputs"])
def test_a_bundle_whose_tensors_have_other_shapes_than_its_manifest_says_never_passes(
    two_step_bundle, change
):
    manifest = read_manifest(two_step_bundle)
    wrong = replace(manifest.outputs[0], shape=(1, 3))
    if change == "outputs":
        manifest = replace(manifest, outputs=(wrong,))
    else:
        body, head = manifest.steps
        manifest = replace(manifest, steps=(body, replace(head, outputs=(wrong,))))
    values = {"x": X, "a": X * 2, "y": X * 6}
    evidence = ReferenceData(lambda inputs: values, values, (), None)
    verdict = verify(two_step_bundle, manifest, evidence)
    place = "'head'" if change == "step" else "the chain"
    assert verdict.verification.status == "failed"
    assert f"'y' of {place} has another shape than the manifest says" in str(verdict.problem)
    assert "expected float32[1, 3], got [1, 2]" in str(verdict.problem)


def test_an_output_that_the_manifest_gives_the_batch_of_an_input_has_that_batch(two_step_bundle):
    manifest = read_manifest(two_step_bundle)
    batch = Dynamic("batch", 1, 1, 4)
    x, y = (replace(spec, shape=(batch, 2)) for spec in (*manifest.inputs, *manifest.outputs))
    manifest = replace(manifest, inputs=(x,), outputs=(y,))
    values = {"x": X, "a": X * 2, "y": X * 6}
    assert shape_violation(manifest, values) is None
    steps = tuple(
        replace(item, outputs=tuple(replace(s, shape=None) for s in item.outputs))
        for item in manifest.steps
    )
    problem = shape_violation(replace(manifest, steps=steps), {**values, "y": np.ones((4, 2))})
    assert "'y' of the chain has another shape" in str(problem)
    assert "expected float32[1..4, 2], got [4, 2]" in str(problem)


def test_the_error_of_an_output_of_another_shape_than_its_spec_is_infinite():
    wrong = replace(step("body", "x", "a"), outputs=(TensorSpec("a", "float32", (2,)),))
    (metrics,) = step_errors(wrong, lambda inputs: {"a": X}, {"x": X, "a": X})
    assert metrics.gap.max_rel == np.inf
