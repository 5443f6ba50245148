"""The errors of a bundle's steps and of its chain against the whole model, and their tolerances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backends.acceptance import (
    MIN_MATCHED,
    MOST_BY_FLOOR,
    AcceptanceRule,
    Bounds,
    Tolerance,
    by_floor,
    loosest,
)
from backends.contract import (
    Array,
    Artifact,
    DeployError,
    Dynamic,
    Runner,
    Specs,
    Tensors,
    TensorSpec,
    select_tensors,
)
from backends.error_metrics import ErrorMetrics, compare_all
from deploy.runtime.bundle.engine_choice import engine_name
from deploy.runtime.bundle.manifest import HostStep, Manifest, StepMetrics, called_steps
from deploy.runtime.execution.chain import Chain, with_step_name
from deploy.runtime.execution.schedule import Step, schedule
from deploy.runtime.pipeline import Pipeline
from deploy.runtime.results.result import Agreement

CHAIN = "chain"
"""The name under which ``StepMetrics`` has the outputs of the whole chain."""


MIN_MATCHED_NOTE = "min_matched"
"""The note in a manifest's verification with the recipe's share of matched detections.

It is there only where the recipe does not leave it at the default.
"""


FLOOR_NOTE = "noise_floor"
"""The first word of notes with the noise floor of a tensor; see ``AcceptanceRule.floors``."""

SAMPLES_NOTE = "samples"
"""The note with the number of samples that were compared, where there are several."""

UNMOVED_NOTE = "movement of "
"""The first words of notes with outputs that two samples hardly change."""

NOTHING_COMPARED = (
    "nothing to compare: what a host step selects is compared in pictures, and the bundle has "
    "none. Deploy it with model.samples=FOLDER"
)
"""What is said of a chain of whose outputs none is compared."""

MATCHED_NOTE = "_matched"
"""The end of the note with how many things matched; the note without it has how many there are."""

_OF = " of "  # between what a note says and the tensor


def agreement_notes(agreement: Agreement) -> dict[str, float]:
    """What a manifest notes of the results' agreement, such as ``detections_matched``."""
    return {
        f"{agreement.noun}{MATCHED_NOTE}": float(agreement.matched),
        agreement.noun: float(agreement.total),
        **agreement.details,
    }


def noted_agreement(notes: Mapping[str, float]) -> Agreement | None:
    """The agreement of the results that a manifest notes; None where it notes none."""
    for name, matched in notes.items():
        noun = name.removesuffix(MATCHED_NOTE)
        if noun != name and noun in notes:
            masks = f"masks from IoU {notes['mask_iou']:.4f} up" if "mask_iou" in notes else ""
            return Agreement(int(matched), int(notes[noun]), noun, text=masks)
    return None


class VerificationError(DeployError):
    """A bundle that does not agree with the whole model."""


def step_errors(step: Step, runner: Runner, values: Tensors) -> list[StepMetrics]:
    """The error of each output of a step that gets the whole model's own values as inputs.

    A host step may have tensors that the model has no value of: such an output is left out, and
    with such an input the whole step is.

    Args:
        step: an engine step or a host step.
        runner: runs it.
        values: the whole model's own values, by tensor names.

    Raises:
        EngineError: an engine fails; with the name of its step.
        HostStepError: a host step fails.
    """
    if not all(spec.name in values for spec in step.inputs):
        return []
    expected = _known(step.outputs, values)
    try:
        outputs = runner(select_tensors(step.inputs, values)) if expected else {}
    except Exception as error:  # whatever it is, the step is to be named
        raise with_step_name(step.name, error) from error
    return [
        StepMetrics(step.name, metrics) for metrics in _compare(step.outputs, expected, outputs)
    ]


def alternative_errors(
    bundle: Path, manifest: Manifest, values: Tensors, trusted: bool
) -> list[StepMetrics]:
    """The error of each output of every alternative that is built, loaded one after the other.

    Args:
        bundle: the bundle, with its files already compared with the manifest.
        manifest: its manifest.
        values: the whole model's own values.
        trusted: as of ``Pipeline.open``.
    """
    errors: list[StepMetrics] = []
    for artifact in manifest.alternatives:
        if not artifact.pending:
            alone = _step_alone(manifest, artifact)
            with Pipeline.of(bundle, alone, trusted=trusted, choices={}) as pipeline:
                ((_, runner),) = pipeline.chain.steps
                own_errors = step_errors(artifact, runner, values)
            label = alternative_label(artifact)
            errors += [replace(metrics, step=label) for metrics in own_errors]
    return errors


def _step_alone(manifest: Manifest, artifact: Artifact) -> Manifest:
    """The manifest of a bundle whose chain is this step alone."""
    return replace(
        manifest,
        steps=(artifact,),
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        pre=None,
        post=None,
        host=(),
        alternatives=(),
    )


def alternative_label(artifact: Artifact) -> str:
    """The name of an alternative beside its step, such as ``head on some-fp16``."""
    return f"{artifact.name} on {engine_name(artifact)}"


def chain_errors(manifest: Manifest, chain: Chain, values: Tensors) -> list[StepMetrics]:
    """The error of each output of the chain.

    An output that depends on a host step, such as boxes in the order of their scores, is compared
    as detections where the bundle has a step that makes them, and left out here.

    Args:
        manifest: the bundle's manifest.
        chain: the bundle's chain.
        values: the whole model's own values of the chain's inputs and outputs.
    """
    outputs = chain(select_tensors(manifest.inputs, values))
    selected = downstream_of_host(manifest) if manifest.post is not None else set()
    exact = tuple(spec for spec in manifest.outputs if spec.name not in selected)
    expected = _known(exact, values)
    return [StepMetrics(CHAIN, metrics) for metrics in _compare(exact, expected, outputs)]


def _compare(specs: Specs, expected: Tensors, outputs: Tensors) -> list[ErrorMetrics]:
    """The error of each output; infinite also where the output has not the shape of its spec."""
    accepted = {
        spec.name: outputs[spec.name]
        for spec in specs
        if spec.name in outputs and spec.accepts(outputs[spec.name].shape)
    }
    return compare_all(expected, accepted)


def _fits(spec: TensorSpec, shape: tuple[int, ...], sizes: Mapping[str, int]) -> bool:
    """Whether a spec accepts a shape in which the dynamic sizes of the inputs are these."""
    return spec.accepts(shape) and all(
        sizes.get(dim.name, size) == size
        for dim, size in zip(spec.dims, shape, strict=False)
        if isinstance(dim, Dynamic)
    )


def shape_violation(manifest: Manifest, values: Tensors) -> VerificationError | None:
    """The first tensor of which a step or the chain says another shape than the whole model gives.

    Args:
        manifest: the bundle's manifest.
        values: the whole model's own values. A tensor may have none.
    """
    places = [
        *((f"'{step.name}'", (*step.inputs, *step.outputs)) for step in manifest.steps),
        *((f"'{step.name}'", (*step.inputs, *step.outputs)) for step in manifest.host),
        ("the chain", (*manifest.inputs, *manifest.outputs)),
    ]
    sizes = {
        dim.name: size
        for spec in manifest.inputs
        for dim, size in zip(spec.dims, values[spec.name].shape, strict=False)
        if isinstance(dim, Dynamic)
    }
    for place, specs in places:
        for spec in specs:
            if spec.name in values and not _fits(spec, values[spec.name].shape, sizes):
                return VerificationError(
                    f"'{spec.name}' of {place} has another shape than the manifest says",
                    expected=str(spec),
                    got=str(list(values[spec.name].shape)),
                    do="The bundle is marked unverified.",
                )
    return None


def worst_errors(samples: Iterable[Sequence[StepMetrics]]) -> list[StepMetrics]:
    """The errors of several samples as one for each tensor: each figure is the worst of all."""
    worst: dict[tuple[str, str], ErrorMetrics] = {}
    for item in (item for errors in samples for item in errors):
        key, gap = (item.step, item.gap.tensor), item.gap
        before = worst.get(key, gap)
        worst[key] = ErrorMetrics(
            gap.tensor,
            max(before.max_abs, gap.max_abs),
            max(before.max_rel, gap.max_rel),
            min(before.cosine, gap.cosine),
        )
    return [StepMetrics(step, gap) for (step, _), gap in worst.items()]


def downstream_of_host(manifest: Manifest) -> set[str]:
    """The tensors that depend on a host step."""
    downstream: set[str] = set()
    called = called_steps(manifest)
    engines = [step for step in manifest.steps if step.name not in called]
    for step in schedule([*engines, *manifest.host], manifest.inputs, manifest.outputs):
        if isinstance(step, HostStep) or any(spec.name in downstream for spec in step.inputs):
            downstream |= {spec.name for spec in step.outputs}
    return downstream


def _known(specs: Specs, values: Tensors) -> dict[str, Array]:
    return select_tensors(tuple(spec for spec in specs if spec.name in values), values)


def recorded_rule(manifest: Manifest) -> AcceptanceRule:
    """The acceptance rule that a bundle was verified by."""
    notes = manifest.verification.notes
    own: dict[str, dict[str, float]] = {}
    for bound in ("max_rel", "cosine"):
        for tensor, value in _noted(notes, f"tolerance.{bound}{_OF}").items():
            own.setdefault(tensor, {})[bound] = value
    return AcceptanceRule(
        max_rel=notes.get("tolerance.max_rel"),
        cosine=notes.get("tolerance.cosine"),
        min_matched=notes.get(MIN_MATCHED_NOTE, MIN_MATCHED),
        tensors={tensor: Bounds(**bounds) for tensor, bounds in own.items()},
        floors={
            tensor: Tolerance(max_rel, notes.get(f"{FLOOR_NOTE}.cosine{_OF}{tensor}", 1.0))
            for tensor, max_rel in _noted(notes, f"{FLOOR_NOTE}.max_rel{_OF}").items()
        },
        quantised=frozenset(_noted(notes, f"quantised{_OF}")),
    )


def rule_notes(rule: AcceptanceRule) -> dict[str, float]:
    """The notes of a manifest's verification from which ``recorded_rule`` reads the rule again."""
    bounds = {"": Bounds(rule.max_rel, rule.cosine)}
    bounds |= {f"{_OF}{tensor}": own for tensor, own in rule.tensors.items()}
    settings = {
        f"tolerance.{name}{tensor}": value
        for tensor, own in bounds.items()
        for name, value in (("max_rel", own.max_rel), ("cosine", own.cosine))
        if value is not None
    }
    share = {} if rule.min_matched == MIN_MATCHED else {MIN_MATCHED_NOTE: rule.min_matched}
    floors = {
        f"{FLOOR_NOTE}.{name}{_OF}{tensor}": value
        for tensor, floor in rule.floors.items()
        for name, value in (("max_rel", floor.max_rel), ("cosine", floor.cosine))
    }
    quantised = {f"quantised{_OF}{tensor}": 1.0 for tensor in sorted(rule.quantised)}
    return {**share, **settings, **floors, **quantised}


def _noted(notes: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {
        name.removeprefix(prefix): value for name, value in notes.items() if name.startswith(prefix)
    }


@dataclass(frozen=True)
class StepTolerances:
    """The tolerance of each output of each step.

    Attributes:
        rule: the acceptance rule.
        precisions: of each step by name, of each alternative by label, and of ``CHAIN``.
    """

    rule: AcceptanceRule
    precisions: Mapping[str, str]

    def of(self, item: StepMetrics) -> Tolerance:
        """The tolerance of the tensor that was compared."""
        return self.rule.tolerance(self.precisions[item.step], item.gap.tensor)

    def admit(self, item: StepMetrics) -> bool:
        """Whether its error is within the tolerance."""
        return self.of(item).admits(item.gap)


def tolerances(manifest: Manifest, rule: AcceptanceRule | None = None) -> StepTolerances:
    """The tolerances of a bundle.

    Args:
        manifest: the bundle's manifest.
        rule: the acceptance rule; by default the one that the bundle was verified by.
    """
    precisions = {step.name: step.precision for step in manifest.steps}
    precisions |= {CHAIN: loosest(precisions.values())}
    precisions |= {alternative_label(item): item.precision for item in manifest.alternatives}
    precisions |= {step.name: "fp32" for step in manifest.host}
    return StepTolerances(rule or recorded_rule(manifest), precisions)


def first_violation(
    manifest: Manifest,
    errors: Sequence[StepMetrics],
    reference: str,
    rule: AcceptanceRule | None = None,
) -> VerificationError | None:
    """The first step beyond its tolerance, if there is one.

    Args:
        manifest: the bundle's manifest.
        errors: of the steps in order, then of the chain.
        reference: what the errors are measured against, for people.
        rule: the acceptance rule; by default the one that the bundle was verified by.
    """
    allowed = tolerances(manifest, rule)
    step = next((item.step for item in errors if not allowed.admit(item)), None)
    if step is None:
        return None
    item = max(
        (item for item in errors if item.step == step and not allowed.admit(item)),
        key=lambda item: item.gap.max_rel,
    )
    where = "the chain" if step == CHAIN else f"{_kind(manifest, step)} '{step}'"
    return VerificationError(
        f"{where} does not agree with {reference} at '{item.gap.tensor}'",
        expected=f"{allowed.of(item)}{_by_floor(allowed.rule, item.gap.tensor)}",
        got=f"max_rel {item.gap.max_rel:.3g} (max_abs {item.gap.max_abs:.3g}), "
        f"cosine {item.gap.cosine:.6f}",
        do=f"The bundle is marked unverified.{_no_test(allowed.rule, item.gap.tensor)}",
    )


def _by_floor(rule: AcceptanceRule, tensor: str) -> str:
    floor = rule.floors.get(tensor)
    if floor is None:
        return ""
    differs = f"{floor.max_rel:.1e}, cosine {floor.cosine:.6f}"
    return f" (the reference differs from itself by {differs})"


def _no_test(rule: AcceptanceRule, tensor: str) -> str:
    floor = rule.floors.get(tensor)
    if floor is None or by_floor(floor) != by_floor(floor).or_looser(MOST_BY_FLOOR):
        return ""
    return (
        " The reference is as uncertain of this tensor as an engine may be at most: pass real "
        "samples with model.samples=FOLDER."
    )


def _kind(manifest: Manifest, name: str) -> str:
    return "host step" if any(step.name == name for step in manifest.host) else "segment"
