"""A bundle measured on the machine that is to run it: built, checked, tuned, timed, evaluated."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from backends.contract import DeployError, EngineError
from deploy.runtime.accuracy.evaluation import evaluate_bundle
from deploy.runtime.accuracy.sample_check import SampleComparison, compare_sample, sample_errors
from deploy.runtime.accuracy.step_errors import agreement_notes
from deploy.runtime.benchmark.comparison import Comparison, Contender, compare
from deploy.runtime.benchmark.machine import this_machine
from deploy.runtime.benchmark.ranking import describe_fastest
from deploy.runtime.benchmark.worker import Subject
from deploy.runtime.bundle.engine_choice import Choice, Choices, engine_name, read_tuned
from deploy.runtime.bundle.integrity import hash_file
from deploy.runtime.bundle.manifest import MANIFEST, Manifest, StepMetrics, read_manifest
from deploy.runtime.bundle.sample import step_sample_name
from deploy.runtime.bundle.signing import read_signed
from deploy.runtime.bundle.trust import remember_own
from deploy.runtime.device_record import AlternativeLatency, DeviceRecord
from deploy.runtime.engine_build import build_engines, measure_errors
from deploy.runtime.execution.own_posts import word_for_command
from deploy.runtime.pipeline import Pipeline
from deploy.runtime.tuning.candidates import (
    default_candidate,
    engine_candidates,
    engine_obstacle,
    usable_engines,
)
from deploy.runtime.tuning.search import describe_choices, tune

AS_TUNED = "as tuned"
"""The name of the choice that tuning has kept here."""

_TUNING_ROUNDS = 15


@dataclass(frozen=True)
class MeasuredWork:
    """What is measured of a bundle beside the check of its sample.

    Attributes:
        rounds: of the latency; 0 leaves it out.
        seconds: that each choice of engines is measured for, in all rounds together.
        tune: whether to keep the fastest engines and threads here.
        dataset: a data set to evaluate on, or None.
        key: a public key that must have signed the bundle.
        own: whether this user has made the bundle, on another machine.
        timeout: seconds for the build of one engine.
    """

    rounds: int = 0
    seconds: float = 3.0
    tune: bool = False
    dataset: Path | None = None
    key: Path | None = None
    own: bool = False
    timeout: float = 3600.0


@dataclass(frozen=True)
class _Latency:
    """The latency of each choice of engines."""

    rows: tuple[AlternativeLatency, ...] = ()
    comparison: Comparison | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)


def measure_bundle(bundle: Path, work: MeasuredWork) -> DeviceRecord:
    """Measure a bundle here, and print what is done.

    Engines that the device is to build are built in the bundle's folder. What does not agree with
    the reference is still measured, for the latency may be the reason to choose it.

    Args:
        bundle: its folder.
        work: what is measured.

    Raises:
        DeployError: the bundle is damaged or not signed, lacks an engine here, or does not run.
    """
    manifest = read_manifest(bundle) if work.key is None else read_signed(bundle, work.key)
    if work.own:
        remember_own(manifest)
    left_out = _build_pending(bundle, manifest, work)
    built = read_manifest(bundle)
    work = work if built == manifest else replace(work, key=None)  # its signature is gone
    checked = _check(bundle, work.key)
    tuned = _tune(bundle, work.key) if work.tune and not checked.problem else ""
    if tuned:
        checked = _check(bundle, work.key)
    latency = _measure_latency(bundle, built, work, agrees=not checked.problem)
    scores = _evaluate(bundle, work)
    ranking = latency.comparison.ranking if latency.comparison else None
    return DeviceRecord(
        device=platform.node(),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=this_machine(dict.fromkeys(one.backend for one in built.artifacts)),
        status="failed" if checked.problem else "passed",
        gaps=checked.errors,
        notes={**(agreement_notes(checked.agreement) if checked.agreement else {}), **scores},
        latency=latency.rows,
        standing=describe_fastest(ranking) if ranking else "",
        states=latency.comparison.machine if latency.comparison else (),
        problem=checked.problem,
        left_out={**left_out, **latency.left_out},
        tuned=tuned,
    )


def _build_pending(bundle: Path, manifest: Manifest, work: MeasuredWork) -> Mapping[str, str]:
    """Build or verify what the desk could not; why an alternative was not built, by its engine."""
    if not any(artifact.pending for artifact in manifest.artifacts):
        return {}
    try:
        build_engines(bundle, work.timeout, work.key)
    except DeployError as error:
        if any(step.pending for step in manifest.steps):
            raise
        others = {engine_name(one) for one in manifest.alternatives if one.pending}
        return dict.fromkeys(sorted(others), str(error))
    return {}


def _check(bundle: Path, key: Path | None) -> SampleComparison:
    print("checking the sample ...", flush=True)
    with Pipeline.open(bundle, key=key) as pipeline:
        errors = _errors(bundle, pipeline, trusted=key is not None)
        return compare_sample(bundle, pipeline, errors)


def _errors(bundle: Path, pipeline: Pipeline, trusted: bool) -> list[StepMetrics]:
    """The errors of the chain; of every step and alternative too where the bundle has samples."""
    manifest = pipeline.manifest
    if not all(step_sample_name(step.name) in manifest.files for step in manifest.steps):
        return sample_errors(bundle, pipeline)
    usable = tuple(one for one in manifest.alternatives if not engine_obstacle(one))
    return measure_errors(bundle, replace(manifest, alternatives=usable), pipeline, trusted)


def _tune(bundle: Path, key: Path | None) -> str:
    """What tuning has chosen; empty where there is nothing to choose."""
    try:
        manifest = read_manifest(bundle)
        usable_engines(manifest)
    except DeployError as error:
        print(f"not tuned: {error}", flush=True)
        return ""
    tune(bundle, (), _TUNING_ROUNDS, forget=False, key=key)
    return describe_choices(read_tuned(manifest))


def _measure_latency(
    bundle: Path, manifest: Manifest, work: MeasuredWork, agrees: bool
) -> _Latency:
    """Measure each choice of engines in turns, each in a process of its own."""
    if work.rounds == 0:
        return _Latency()
    choices, left_out = _choices(manifest)
    print(f"measuring {', '.join(choices)}: {work.rounds} rounds in turns ...", flush=True)
    used = next(iter(choices))
    sha256, key = hash_file(bundle / MANIFEST).sha256, str(work.key) if work.key else None
    own_post = word_for_command(manifest.post)
    contenders = {
        name: Contender(
            Subject(str(bundle), choice, key, own_post),
            sha256,
            is_ranked=agrees or name != used,
            must_agree=name != used,
        )
        for name, choice in choices.items()
    }
    comparison = compare(contenders, work.rounds, work.seconds)
    if reason := comparison.left_out.get(used):
        raise EngineError(f"the bundle does not run on its own: {reason}")
    rows = tuple(
        AlternativeLatency(name, one.parts, one.rounds, one.joules)
        for name, one in comparison.measurements.items()
    )
    return _Latency(rows, comparison, {**left_out, **comparison.left_out})


def _choices(manifest: Manifest) -> tuple[dict[str, Choices], dict[str, str]]:
    """By name, how the bundle is used, as it was made, and each engine on all steps that have it.

    Returns:
        The choices, the one in use first; and of engines that do not run here why, by their names.
    """
    as_made = " + ".join(dict.fromkeys(engine_name(step) for step in manifest.steps))
    choices: dict[str, Choices] = {as_made: {}}
    left_out: dict[str, str] = {}
    if manifest.alternatives:
        engines, _ = usable_engines(manifest)
        own = {step: Choice(next(iter(usable))) for step, usable in engines.items()}
        candidates = engine_candidates(engines).items()
        choices |= {name: candidate for name, candidate in candidates if candidate != own}
        left_out = {
            engine_name(one): reason
            for one in manifest.alternatives
            if (reason := engine_obstacle(one))
        }
    tuned = read_tuned(manifest)
    if tuned and tuned != default_candidate(usable_engines(manifest)[0]):
        choices = {AS_TUNED: tuned, **choices}
    return choices, left_out


def _evaluate(bundle: Path, work: MeasuredWork) -> Mapping[str, float]:
    """The scores on the data set; empty without one."""
    if work.dataset is None:
        return {}
    print("evaluating on the data set ...", flush=True)
    return evaluate_bundle(bundle, work.dataset, key=work.key)[1]
