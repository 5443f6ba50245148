"""How far a bundle's steps and its chain are from the whole model."""

from __future__ import annotations

from collections.abc import Sequence

from backends.contract import Array, Artifact, DeployError, Runner, Specs, Tensors
from backends.gap import TOLERANCES, Tolerance, measure_all, worst
from deploy.runtime.chain import Chain
from deploy.runtime.manifest import Manifest, StepGap

CHAIN = "chain"


class VerificationError(DeployError):
    """A bundle that does not do what the whole model does."""


def step_gaps(step: Artifact, runner: Runner, values: Tensors) -> list[StepGap]:
    """The gap of each output of a step that gets the whole model's own values."""
    outputs = runner(pick(step.inputs, values))
    return [StepGap(step.name, gap) for gap in measure_all(pick(step.outputs, values), outputs)]


def chain_gaps(manifest: Manifest, chain: Chain, values: Tensors) -> list[StepGap]:
    """The gap of each output of the chain."""
    outputs = chain(pick(manifest.inputs, values))
    expected = pick(manifest.outputs, values)
    return [StepGap(CHAIN, gap) for gap in measure_all(expected, outputs)]


def pick(specs: Specs, values: Tensors) -> dict[str, Array]:
    """The values of some tensors, in the dtype of their specs."""
    return {spec.name: values[spec.name].astype(spec.dtype, copy=False) for spec in specs}


def chain_tolerance(manifest: Manifest) -> Tolerance:
    """What the chain may differ by: the bound of its loosest step."""
    bounds = [TOLERANCES[step.precision] for step in manifest.steps]
    return max(bounds, key=lambda bound: bound.max_rel)


def tensor_problem(
    manifest: Manifest, gaps: Sequence[StepGap], reference: str
) -> VerificationError | None:
    """The first step beyond its tolerance, if any: segments in order, then the chain."""
    bounds = {step.name: TOLERANCES[step.precision] for step in manifest.steps}
    bounds[CHAIN] = chain_tolerance(manifest)
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
