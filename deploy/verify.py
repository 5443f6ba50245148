"""A bundle against the PyTorch model: every segment, the chain, and what it sees."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backends.contract import Array, Tensors
from deploy.recipe.schema import RecipeError, VerifyRecipe
from deploy.runtime.accuracy.coco import Dataset, DatasetError, Detect, Scores
from deploy.runtime.accuracy.matching import match_detections
from deploy.runtime.accuracy.step_errors import (
    VerificationError,
    alternative_errors,
    chain_errors,
    first_violation,
    step_errors,
)
from deploy.runtime.bundle.manifest import Manifest, StepMetrics, Verification
from deploy.runtime.pipeline import Pipeline
from deploy.runtime.vision import CONFIDENT
from deploy.runtime.vision.detections import Detections
from deploy.runtime.vision.image import Picture

MATCH_IOU = 0.9
"""The least overlap of detections that count as the same."""


Reference = Callable[[Tensors], dict[str, Array]]
"""Chain inputs -> the whole model's value of every tensor of the chain."""


@dataclass(frozen=True)
class ReferenceData:
    """What a bundle is held against.

    Attributes:
        reference: the whole model.
        values: its value of every tensor of the chain, for the sample inputs.
        pictures: to compare detections on.
        annotations: a COCO file to evaluate both on, if that is asked for.
        name: what the reference is, for people.
    """

    reference: Reference
    values: Tensors
    pictures: Sequence[Path]
    annotations: Path | None
    name: str = "PyTorch"

    def whole(self, inputs: Tensors) -> dict[str, Array]:
        """The reference on inputs of the chain, which may be in half precision."""
        full = {
            name: array.astype(self.values[name].dtype, copy=False)
            for name, array in inputs.items()
        }
        return self.reference(full)


@dataclass(frozen=True)
class DetectionAgreement:
    """How many confident detections both models share, counted from both sides.

    Attributes:
        matched: those that have a partner.
        total: all of them.
        mask: the least IoU of the masks of partners; nothing where there are none.
    """

    matched: int
    total: int
    mask: float | None = None

    @property
    def share(self) -> float:
        """From 0 to 1; 1 where there is nothing to find."""
        return self.matched / self.total if self.total else 1.0


@dataclass(frozen=True)
class Verdict:
    """What was measured.

    Attributes:
        verification: for the manifest.
        problem: the first thing beyond its tolerance.
        expected: what PyTorch finds in each picture.
        found: what the chain finds in each picture.
        chain_map: mAP of the chain, if it was asked for.
        torch_map: mAP of PyTorch.
    """

    verification: Verification
    problem: VerificationError | None
    expected: tuple[Detections, ...] = ()
    found: tuple[Detections, ...] = ()
    chain_map: Scores | None = None
    torch_map: Scores | None = None


def verify(
    bundle: Path, manifest: Manifest, evidence: ReferenceData, asked: VerifyRecipe
) -> Verdict:
    """Measure a bundle against the PyTorch model.

    Args:
        bundle: the bundle's folder.
        manifest: its manifest.
        evidence: what it is held against.
        asked: the recipe's bounds.
    """
    with Pipeline.open(bundle, trusted=True, choices={}) as pipeline:
        steps = [*pipeline.chain.steps, *pipeline.chain.called]
        gaps = [gap for step in steps for gap in step_errors(*step, evidence.values)]
        gaps += alternative_errors(bundle, manifest, evidence.values)
        gaps += chain_errors(manifest, pipeline.chain, evidence.values)
        problem = first_violation(manifest, gaps, evidence.name)
        if pipeline.post is None:
            return Verdict(_verification(problem, gaps, {}), problem)
        torch = ReferencePipeline(pipeline, evidence.whole)
        expected = tuple(torch(picture) for picture in evidence.pictures)
        found = tuple(pipeline(picture) for picture in evidence.pictures)
        shared = detection_agreement(expected, found)
        problem = problem or _detection_problem(shared, asked.min_matched)
        notes = {"detections_matched": float(shared.matched), "detections": float(shared.total)}
        notes |= {} if shared.mask is None else {"mask_iou": shared.mask}
        verdict = Verdict(_verification(problem, gaps, notes), problem, expected, found)
        if evidence.annotations is None:
            return verdict
        maps = [evaluate_coco(evidence.annotations, detect) for detect in (pipeline, torch)]
    return _with_maps(verdict, *maps)


def expected_detections_only(manifest: Manifest, evidence: ReferenceData) -> Verdict:
    """What PyTorch finds, for the device to compare with once it has built its engines."""
    pipeline = Pipeline.without_engines(manifest)
    if pipeline.post is None:
        return Verdict(Verification("not run"), None)
    torch = ReferencePipeline(pipeline, evidence.whole)
    expected = tuple(torch(picture) for picture in evidence.pictures[:1])
    return Verdict(Verification("not run"), None, expected)


@dataclass(frozen=True)
class ReferencePipeline:
    """The bundle's own pre- and post-processing around the PyTorch model."""

    pipeline: Pipeline
    reference: Reference

    def __call__(self, picture: Picture) -> Detections:
        """What PyTorch finds, in the picture's own pixels."""
        inputs, placement = self.pipeline.prepare(picture)
        return self.pipeline.finish(self.reference(inputs), placement)

    def timed(self, picture: Picture, seconds: dict[str, float]) -> Detections:
        """As a call, and the seconds of pre, the model and post."""
        start = time.perf_counter()
        inputs, placement = self.pipeline.prepare(picture)
        prepared = time.perf_counter()
        outputs = self.reference(inputs)
        ran = time.perf_counter()
        found = self.pipeline.finish(outputs, placement)
        end = time.perf_counter()
        seconds |= {"pre": prepared - start, "model": ran - prepared}
        seconds |= {"post": end - ran, "total": end - start}
        return found


def detection_agreement(
    expected: Sequence[Detections], actual: Sequence[Detections]
) -> DetectionAgreement:
    """Confident detections of either side that the other side has too, by label and IoU."""
    pairs = list(zip(expected, actual, strict=True))
    sides = [_shared(*pair) for pair in pairs] + [_shared(*pair[::-1]) for pair in pairs]
    masks = [side.mask for side in sides if side.mask is not None]
    return DetectionAgreement(
        sum(side.matched for side in sides),
        sum(side.total for side in sides),
        min(masks, default=None),
    )


def _detection_problem(found: DetectionAgreement, least: float) -> VerificationError | None:
    if found.share >= least:
        return None
    return VerificationError(
        "the chain does not find what PyTorch finds",
        expected=f"at least {least:.0%} of detections matched",
        got=f"{found.matched} of {found.total}",
        do="The bundle is marked unverified.",
    )


def _verification(
    problem: VerificationError | None, gaps: Sequence[StepMetrics], notes: Mapping[str, float]
) -> Verification:
    return Verification("failed" if problem else "passed", tuple(gaps), notes)


def _with_maps(verdict: Verdict, chain: Scores, torch: Scores) -> Verdict:
    notes = {**verdict.verification.notes, **_noted("", chain), **_noted("torch_", torch)}
    noted = replace(verdict.verification, notes=notes)
    return replace(verdict, verification=noted, chain_map=chain, torch_map=torch)


def _noted(whose: str, scores: Scores) -> dict[str, float]:
    kinds = {"": scores.boxes, "mask_": scores.masks}
    return {
        name: value
        for kind, found in kinds.items()
        if found is not None
        for name, value in (
            (f"{whose}{kind}map", found.at_50_95),
            (f"{whose}{kind}map_50", found.at_50),
        )
    }


def _shared(one: Detections, other: Detections) -> DetectionAgreement:
    """The confident detections of ``one`` that are in ``other`` too."""
    sure = one.above(CONFIDENT)
    found = match_detections(sure, other, MATCH_IOU)
    return DetectionAgreement(found.matched, len(sure), found.mask)


def evaluate_coco(annotations: Path, detect: Detect) -> Scores:
    """Evaluate the boxes of a detector, and its masks if it makes some, on a COCO set.

    Args:
        annotations: the COCO file.
        detect: a picture's path to its detections in the picture's own pixels.

    Raises:
        RecipeError: the annotation file is missing or is not a COCO file.
    """
    try:
        dataset = Dataset(annotations)
    except DatasetError as error:
        raise RecipeError(f"model.eval: {error}") from error
    rows = [
        row
        for number, path in dataset.pictures.items()
        for row in dataset.rows(number, detect(path))
    ]
    return dataset.scores(rows)
