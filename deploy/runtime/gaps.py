"""How far a bundle's steps and its chain are from the whole model."""

from __future__ import annotations

from collections.abc import Sequence

from backends.contract import Array, Artifact, DeployError, Runner, Specs, Tensors
from backends.gap import TOLERANCES, Tolerance, measure_all, worst
from deploy.runtime.chain import Chain
from deploy.runtime.choices import engine_of
from deploy.runtime.host import HostStep
from deploy.runtime.manifest import Manifest, StepGap, called
from deploy.runtime.order import Step, in_order

CHAIN = "chain"


class VerificationError(DeployError):
    """A bundle that does not do what the whole model does."""


def step_gaps(step: Step, runner: Runner, values: Tensors) -> list[StepGap]:
    """The gap of each output of a step that gets the whole model's own values.

    Of a host step, the outputs that the model has no value of are left out, and the whole step
    where that is so of an input.
    """
    if not all(spec.name in values for spec in step.inputs):
        return []
    expected = _known(step.outputs, values)
    outputs = runner(pick(step.inputs, values)) if expected else {}
    return [StepGap(step.name, gap) for gap in measure_all(expected, outputs)]


def label(other: Artifact) -> str:
    """How an alternative is told from its step, such as ``head on some-fp16``."""
    return f"{other.name} on {engine_of(other)}"


def chain_gaps(manifest: Manifest, chain: Chain, values: Tensors) -> list[StepGap]:
    """The gap of each output of the chain.

    What comes from behind a host step that chooses, such as boxes in an order, is compared as
    detections where the bundle has a step that makes them.
    """
    outputs = chain(pick(manifest.inputs, values))
    chosen = behind_host(manifest) if manifest.post is not None else set()
    exact = tuple(spec for spec in manifest.outputs if spec.name not in chosen)
    return [StepGap(CHAIN, gap) for gap in measure_all(_known(exact, values), outputs)]


def behind_host(manifest: Manifest) -> set[str]:
    """The tensors that depend on a host step."""
    found: set[str] = set()
    apart = called(manifest)
    engines = [step for step in manifest.steps if step.name not in apart]
    for step in in_order([*engines, *manifest.host], manifest.inputs, manifest.outputs):
        if isinstance(step, HostStep) or any(spec.name in found for spec in step.inputs):
            found |= {spec.name for spec in step.outputs}
    return found


def pick(specs: Specs, values: Tensors) -> dict[str, Array]:
    """The values of some tensors, in the dtype of their specs."""
    return {spec.name: values[spec.name].astype(spec.dtype, copy=False) for spec in specs}


def _known(specs: Specs, values: Tensors) -> dict[str, Array]:
    return pick(tuple(spec for spec in specs if spec.name in values), values)


def chain_tolerance(manifest: Manifest) -> Tolerance:
    """What the chain may differ by: the bound of its loosest step."""
    bounds = [TOLERANCES[step.precision] for step in manifest.steps]
    return max(bounds, key=lambda bound: bound.max_rel)


def tolerances(manifest: Manifest) -> dict[str, Tolerance]:
    """What each step may differ by, and the chain."""
    bounds = {step.name: TOLERANCES[step.precision] for step in manifest.steps}
    bounds |= {label(other): TOLERANCES[other.precision] for other in manifest.alternatives}
    bounds |= {step.name: TOLERANCES["fp32"] for step in manifest.host}
    return {**bounds, CHAIN: chain_tolerance(manifest)}


def tensor_problem(
    manifest: Manifest, gaps: Sequence[StepGap], reference: str
) -> VerificationError | None:
    """The first step beyond its tolerance, if any: segments in order, then the chain."""
    bounds = tolerances(manifest)
    bad = next((gap.step for gap in gaps if not bounds[gap.step].admits(gap.gap)), None)
    if bad is None:
        return None
    gap = worst(item.gap for item in gaps if item.step == bad)
    where = "the chain" if bad == CHAIN else f"{_kind(manifest, bad)} '{bad}'"
    return VerificationError(
        f"{where} does not agree with {reference} at '{gap.tensor}'",
        expected=str(bounds[bad]),
        got=f"max_rel {gap.max_rel:.3g} (max_abs {gap.max_abs:.3g}), cosine {gap.cosine:.6f}",
        do="The bundle is marked unverified.",
    )


def _kind(manifest: Manifest, step: str) -> str:
    return "host step" if any(one.name == step for one in manifest.host) else "segment"
