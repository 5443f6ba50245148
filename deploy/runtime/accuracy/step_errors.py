"""How far a bundle's steps and its chain are from the whole model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from backends.acceptance import TOLERANCES, Tolerance
from backends.contract import Array, Artifact, DeployError, Runner, Specs, Tensors, select_tensors
from backends.error_metrics import compare_all, worst
from deploy.runtime.bundle.engine_choice import engine_name
from deploy.runtime.bundle.manifest import HostStep, Manifest, StepMetrics, called_steps
from deploy.runtime.execution.chain import Chain
from deploy.runtime.execution.loading import load
from deploy.runtime.execution.schedule import Step, schedule

CHAIN = "chain"


class VerificationError(DeployError):
    """A bundle that does not do what the whole model does."""


def step_errors(step: Step, runner: Runner, values: Tensors) -> list[StepMetrics]:
    """The gap of each output of a step that gets the whole model's own values.

    Of a host step, the outputs that the model has no value of are left out, and the whole step
    where that is so of an input.
    """
    if not all(spec.name in values for spec in step.inputs):
        return []
    expected = _known(step.outputs, values)
    outputs = runner(select_tensors(step.inputs, values)) if expected else {}
    return [StepMetrics(step.name, gap) for gap in compare_all(expected, outputs)]


def alternative_label(other: Artifact) -> str:
    """How an alternative is told from its step, such as ``head on some-fp16``."""
    return f"{other.name} on {engine_name(other)}"


def chain_errors(manifest: Manifest, chain: Chain, values: Tensors) -> list[StepMetrics]:
    """The gap of each output of the chain.

    What comes from behind a host step that chooses, such as boxes in an order, is compared as
    detections where the bundle has a step that makes them.
    """
    outputs = chain(select_tensors(manifest.inputs, values))
    chosen = downstream_of_host(manifest) if manifest.post is not None else set()
    exact = tuple(spec for spec in manifest.outputs if spec.name not in chosen)
    return [StepMetrics(CHAIN, gap) for gap in compare_all(_known(exact, values), outputs)]


def downstream_of_host(manifest: Manifest) -> set[str]:
    """The tensors that depend on a host step."""
    found: set[str] = set()
    apart = called_steps(manifest)
    engines = [step for step in manifest.steps if step.name not in apart]
    for step in schedule([*engines, *manifest.host], manifest.inputs, manifest.outputs):
        if isinstance(step, HostStep) or any(spec.name in found for spec in step.inputs):
            found |= {spec.name for spec in step.outputs}
    return found


def _known(specs: Specs, values: Tensors) -> dict[str, Array]:
    return select_tensors(tuple(spec for spec in specs if spec.name in values), values)


def chain_tolerance(manifest: Manifest) -> Tolerance:
    """What the chain may differ by: the bound of its loosest step."""
    bounds = [TOLERANCES[step.precision] for step in manifest.steps]
    return max(bounds, key=lambda bound: bound.max_rel)


def tolerances(manifest: Manifest) -> dict[str, Tolerance]:
    """What each step may differ by, and the chain."""
    bounds = {step.name: TOLERANCES[step.precision] for step in manifest.steps}
    bounds |= {
        alternative_label(other): TOLERANCES[other.precision] for other in manifest.alternatives
    }
    bounds |= {step.name: TOLERANCES["fp32"] for step in manifest.host}
    return {**bounds, CHAIN: chain_tolerance(manifest)}


def first_violation(
    manifest: Manifest, gaps: Sequence[StepMetrics], reference: str
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


def alternative_errors(bundle: Path, manifest: Manifest, values: Tensors) -> list[StepMetrics]:
    """The gap of each output of every alternative that is built, loaded one after the other.

    Args:
        bundle: the bundle, of which the files are known to be those of the manifest.
        manifest: its manifest.
        values: the whole model's own values.
    """
    gaps: list[StepMetrics] = []
    for other in manifest.alternatives:
        if not other.pending:
            with load(bundle, other, alone=False) as runner:
                found = step_errors(other, runner, values)
            gaps += [replace(gap, step=alternative_label(other)) for gap in found]
    return gaps
