"""The result of a run -> the data of its report."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backends.acceptance import Tolerance
from deploy.handover.collect import collect_handover
from deploy.handover.facts import Handover
from deploy.recipe.schema import Recipe
from deploy.report.chain_diagram import chain_arrows, chain_boxes
from deploy.report.data import (
    DeviceView,
    Environment,
    MatchedCount,
    Report,
    StageTime,
    TensorRow,
)
from deploy.report.device_results import DeviceOutcome, verified_there
from deploy.report.pictures import picture_views
from deploy.report.progress import Stage
from deploy.report.result_pictures import input_views, result_views
from deploy.report.run_result import RunResult, display_path, result_notes
from deploy.runtime.accuracy.evaluation import noted_scores
from deploy.runtime.accuracy.step_errors import (
    CHAIN,
    alternative_label,
    noted_agreement,
    tolerances,
)
from deploy.runtime.benchmark.measurement import Measurement
from deploy.runtime.bundle.integrity import hash_file
from deploy.runtime.bundle.manifest import MANIFEST, Manifest, StepMetrics
from deploy.runtime.results.result import Agreement


def collect_report(
    result: RunResult, recipe: Recipe, stages: Sequence[Stage], job: str, command: str
) -> Report:
    """Everything that the report of a run shows.

    Args:
        result: of the run; its bundle is published.
        recipe: of the run.
        stages: of the run.
        job: the overrides of the command line.
        command: the whole command line, quoted for a shell.
    """
    manifest, verdict, latency = result.manifest, result.verdict, result.latency
    notes = manifest.verification.notes
    agreement = noted_agreement(notes)
    rows = result.pictures, verdict.expected, verdict.actual, manifest.classes
    report = Report(
        model=manifest.model,
        backends=result.backends,
        job=job,
        command=command,
        bundle=str(display_path(result.bundle)),
        manifest_sha256=hash_file(result.bundle / MANIFEST).sha256,
        reference=result.reference,
        status=result.status,
        problem=str(verdict.problem) if verdict.problem else "",
        size=result.size,
        boxes=chain_boxes(manifest, result.placement.prefer if result.placement else ()),
        arrows=chain_arrows(manifest),
        notes=tuple(result_notes(result)),
        parity=tensor_rows(manifest),
        pictures=picture_views(*rows),
        results=result_views(*rows) if manifest.pre is not None else input_views(*rows[1:]),
        agreement=_matched_count(agreement),
        latency=(),
        latency_runs=0,
        scores=noted_scores(manifest),
        has_dataset=recipe.model.eval is not None,
        pending=result.pending,
        stages=tuple(StageTime(stage.name, stage.seconds, stage.from_cache) for stage in stages),
        environment=report_environment(_tools(manifest)),
        recipe=dict(_flatten("", asdict(recipe))),
        placement=result.placement,
        handover=_handover(result.bundle, manifest),
        devices=tuple(_device_view(manifest, one) for one in result.devices),
    )
    return report if latency is None else with_latency(report, latency)


def _handover(bundle: Path, manifest: Manifest) -> Handover | None:
    """What an app needs, where an engine of the bundle is one of apps."""
    facts = collect_handover(bundle, manifest)
    return facts if any(choice.engine for step in facts.steps for choice in step.engines) else None


def _matched_count(agreement: Agreement | None) -> MatchedCount | None:
    if agreement is None:
        return None
    return MatchedCount(agreement.noun, agreement.matched, agreement.total)


def _device_view(manifest: Manifest, outcome: DeviceOutcome) -> DeviceView:
    if outcome.record is None:
        return DeviceView(outcome.name, None, outcome.problem)
    there = verified_there(manifest, outcome.record)
    return DeviceView(
        outcome.name,
        outcome.record,
        outcome.problem,
        tensor_rows(there),
        _matched_count(noted_agreement(there.verification.notes)),
        noted_scores(there),
    )


def with_latency(report: Report, latency: Measurement) -> Report:
    """The report with what was measured."""
    return replace(
        report,
        latency=latency.parts,
        latency_runs=latency.calls,
        latency_rounds=latency.rounds,
        machine=latency.machine,
    )


def tensor_rows(manifest: Manifest) -> tuple[TensorRow, ...]:
    """A row for each compared tensor; the worst uses the largest share of its tolerance."""
    bounds = tolerances(manifest)
    runs_on = {step.name: f"{step.backend}, {step.precision}" for step in manifest.steps}
    runs_on |= {step.name: "host" for step in manifest.host} | {CHAIN: "all of it"}
    runs_on |= {
        alternative_label(engine): f"{engine.backend}, {engine.precision}"
        for engine in manifest.alternatives
    }
    metrics = manifest.verification.gaps
    rows = [_tensor_row(item, runs_on[item.step], bounds.of(item)) for item in metrics]
    shares = [_share(item.gap.max_rel, bounds.of(item).max_rel) for item in metrics]
    if rows and max(shares) > 0:
        worst = shares.index(max(shares))
        rows[worst] = replace(rows[worst], worst=True)
    return tuple(rows)


def _share(error: float, bound: float) -> float:
    return error / bound if bound else error


def _tensor_row(item: StepMetrics, runs_on: str, bound: Tolerance) -> TensorRow:
    return TensorRow(
        step=item.step,
        runs_on=runs_on,
        tensor=item.gap.tensor,
        max_abs=item.gap.max_abs,
        max_rel=item.gap.max_rel,
        cosine=item.gap.cosine,
        tolerance=str(bound),
        within_tolerance=bound.admits(item.gap),
    )


def _tools(manifest: Manifest) -> dict[str, str]:
    tools = dict(manifest.tools)
    for artifact in manifest.artifacts:
        tools |= artifact.tools
    return tools


def _flatten(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """``(dotted key, value)`` of everything in nested mappings that is not empty."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flatten(f"{key}.{name}" if key else str(name), item)
    elif value not in (None, [], ""):
        yield key, value


def report_environment(tools: Mapping[str, str]) -> Environment:
    """This machine, now.

    Args:
        tools: distribution to version, of what wrote the bundle.
    """
    return Environment(
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        system=platform.platform(),
        processor=_processor(),
        cores=os.cpu_count() or 0,
        python=platform.python_version(),
        tools=dict(tools),
    )


def _processor() -> str:
    """The processor's model where the system tells it, else its architecture."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(errors="replace").splitlines() if file.is_file() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()
