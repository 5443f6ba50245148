"""A bundle against the PyTorch model: every segment, the chain, and what it sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backends.contract import Array, Artifact, DeployError, Runner, Specs, Tensors
from backends.gap import TOLERANCES, Tolerance, measure_all, worst
from deploy.evaluate import MeanPrecision, mean_precision
from deploy.recipe import VerifyRecipe
from deploy.runtime.check import chain_tolerance
from deploy.runtime.detections import CONFIDENT, Detections
from deploy.runtime.image import Picture
from deploy.runtime.manifest import Manifest, StepGap, Verification
from deploy.runtime.matching import match
from deploy.runtime.pipeline import Pipeline

CHAIN = "chain"
_IOU = 0.9

Reference = Callable[[Tensors], dict[str, Array]]
"""Chain inputs -> the whole model's value of every tensor of the chain."""


class VerificationError(DeployError):
    """A bundle that does not do what the whole model does."""


@dataclass(frozen=True)
class Evidence:
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


@dataclass(frozen=True)
class Agreement:
    """How many confident detections both models share, counted from both sides."""

    matched: int
    total: int

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
    chain_map: MeanPrecision | None = None
    torch_map: MeanPrecision | None = None


def verify(bundle: Path, manifest: Manifest, evidence: Evidence, asked: VerifyRecipe) -> Verdict:
    """Measure a bundle against the PyTorch model.

    Args:
        bundle: the bundle's folder.
        manifest: its manifest.
        evidence: what it is held against.
        asked: the recipe's bounds.
    """
    with Pipeline.open(bundle) as pipeline:
        steps = pipeline.chain.steps
        gaps = [gap for step in steps for gap in _step_gaps(*step, evidence.values)]
        gaps += _chain_gaps(pipeline, evidence.values)
        problem = tensor_problem(manifest, gaps, evidence.name)
        if pipeline.post is None:
            return Verdict(_verification(problem, gaps, {}), problem)
        torch = TorchPipeline(pipeline, evidence.reference)
        expected = tuple(torch(picture) for picture in evidence.pictures)
        found = tuple(pipeline(picture) for picture in evidence.pictures)
        shared = agreement(expected, found)
        problem = problem or _detection_problem(shared, asked.min_matched)
        notes = {"detections_matched": float(shared.matched), "detections": float(shared.total)}
        verdict = Verdict(_verification(problem, gaps, notes), problem, expected, found)
        if evidence.annotations is None:
            return verdict
        maps = [mean_precision(evidence.annotations, detect) for detect in (pipeline, torch)]
    return _with_maps(verdict, *maps)


@dataclass(frozen=True)
class TorchPipeline:
    """The bundle's own pre- and post-processing around the PyTorch model."""

    pipeline: Pipeline
    reference: Reference

    def __call__(self, picture: Picture) -> Detections:
        """What PyTorch finds, in the picture's own pixels."""
        inputs, placement = self.pipeline.prepare(picture)
        return self.pipeline.finish(self.reference(inputs), placement)


def agreement(expected: Sequence[Detections], actual: Sequence[Detections]) -> Agreement:
    """Confident detections of either side that the other side has too, by label and IoU."""
    pairs = list(zip(expected, actual, strict=True))
    sides = [_shared(*pair) for pair in pairs] + [_shared(*pair[::-1]) for pair in pairs]
    return Agreement(sum(hits for hits, _ in sides), sum(total for _, total in sides))


def tensor_problem(
    manifest: Manifest, gaps: Sequence[StepGap], reference: str
) -> VerificationError | None:
    """The first step beyond its tolerance, if any: segments in order, then the chain."""
    bounds = _tolerances(manifest)
    bad = next((gap.step for gap in gaps if not bounds[gap.step].admits(gap.gap)), None)
    if bad is None:
        return None
    gap = worst(item.gap for item in gaps if item.step == bad)
    where = "the chain" if bad == CHAIN else f"segment '{bad}'"
    return VerificationError(
        f"{where} does not agree with {reference} at '{gap.tensor}'",
        expected=str(bounds[bad]),
        got=f"max_rel {gap.max_rel:.3g} (max_abs {gap.max_abs:.3g}), cosine {gap.cosine:.6f}",
        do="The bundle is marked unverified.",
    )


def _detection_problem(found: Agreement, least: float) -> VerificationError | None:
    if found.share >= least:
        return None
    return VerificationError(
        "the chain does not find what PyTorch finds",
        expected=f"at least {least:.0%} of detections matched",
        got=f"{found.matched} of {found.total}",
        do="The bundle is marked unverified.",
    )


def _step_gaps(step: Artifact, runner: Runner, values: Tensors) -> list[StepGap]:
    outputs = runner(_pick(step.inputs, values))
    return [StepGap(step.name, gap) for gap in measure_all(_pick(step.outputs, values), outputs)]


def _chain_gaps(pipeline: Pipeline, values: Tensors) -> list[StepGap]:
    outputs = pipeline.chain(_pick(pipeline.manifest.inputs, values))
    expected = _pick(pipeline.manifest.outputs, values)
    return [StepGap(CHAIN, gap) for gap in measure_all(expected, outputs)]


def _tolerances(manifest: Manifest) -> dict[str, Tolerance]:
    each = {step.name: TOLERANCES[step.precision] for step in manifest.steps}
    return {**each, CHAIN: chain_tolerance(manifest)}


def _verification(
    problem: VerificationError | None, gaps: Sequence[StepGap], notes: Mapping[str, float]
) -> Verification:
    return Verification("failed" if problem else "passed", tuple(gaps), notes)


def _with_maps(verdict: Verdict, chain: MeanPrecision, torch: MeanPrecision) -> Verdict:
    scores = {"map": chain.at_50_95, "map_50": chain.at_50}
    scores |= {"torch_map": torch.at_50_95, "torch_map_50": torch.at_50}
    verification = verdict.verification
    noted = replace(verification, notes={**verification.notes, **scores})
    return replace(verdict, verification=noted, chain_map=chain, torch_map=torch)


def _pick(specs: Specs, values: Tensors) -> dict[str, Array]:
    return {spec.name: values[spec.name] for spec in specs}


def _shared(one: Detections, other: Detections) -> tuple[int, int]:
    """How many confident detections of ``one`` are in ``other`` too, and how many there are."""
    sure = one.above(CONFIDENT)
    return match(sure, other, _IOU).matched, len(sure)
