"""What a run made -> its report."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backends.acceptance import Tolerance
from deploy.recipe.schema import Recipe
from deploy.report.chain_diagram import chain_arrows, chain_boxes
from deploy.report.console import display_path, result_notes
from deploy.report.data import Environment, PrecisionRow, Report, StageTime, TensorRow
from deploy.report.pictures import picture_views
from deploy.report.progress import Stage
from deploy.report.run_result import RunResult
from deploy.runtime.accuracy.step_errors import CHAIN, alternative_label, tolerances
from deploy.runtime.bundle.integrity import hash_file
from deploy.runtime.bundle.manifest import MANIFEST, Manifest, StepMetrics

_MEANS = {
    "map_50": "Boxes, mAP@0.5",
    "map": "Boxes, mAP@.5:.95",
    "mask_map_50": "Masks, mAP@0.5",
    "mask_map": "Masks, mAP@.5:.95",
}


def collect_report(
    outcome: RunResult, recipe: Recipe, stages: Sequence[Stage], job: str, command: str
) -> Report:
    """Everything that the report of a run shows.

    Args:
        outcome: of the run; its bundle is published.
        recipe: that was carried out.
        stages: of the run.
        job: the words of the command line.
        command: the whole command line, quoted for a shell.
    """
    manifest, verdict, latency = outcome.manifest, outcome.verdict, outcome.latency
    noted = manifest.verification.notes
    return Report(
        model=manifest.model,
        backends=outcome.backends,
        job=job,
        command=command,
        bundle=str(display_path(outcome.bundle)),
        manifest=hash_file(outcome.bundle / MANIFEST).sha256,
        against=outcome.against,
        status=manifest.verification.status,
        problem=str(verdict.problem) if verdict.problem else "",
        size=outcome.size,
        boxes=chain_boxes(manifest),
        arrows=chain_arrows(manifest),
        notes=tuple(result_notes(outcome)),
        parity=tensor_rows(manifest),
        sightings=picture_views(
            outcome.pictures, verdict.expected, verdict.found, manifest.classes
        ),
        matched=int(noted["detections_matched"]) if "detections" in noted else None,
        total=int(noted["detections"]) if "detections" in noted else None,
        latency=latency.parts if latency else (),
        runs=latency.runs if latency else 0,
        means=precision_rows(noted),
        evaluable=recipe.model.eval is not None,
        pending=outcome.pending,
        stages=tuple(StageTime(one.name, one.seconds, one.kept) for one in stages),
        environment=environment(_tools(manifest)),
        recipe=dict(_flat("", asdict(recipe))),
    )


def tensor_rows(manifest: Manifest) -> tuple[TensorRow, ...]:
    """A row for each tensor that was compared; the worst is the one nearest to its bound."""
    bounds = tolerances(manifest)
    where = {step.name: f"{step.backend}, {step.precision}" for step in manifest.steps}
    where |= {step.name: "host" for step in manifest.host} | {CHAIN: "all of it"}
    where |= {
        alternative_label(one): f"{one.backend}, {one.precision}" for one in manifest.alternatives
    }
    gaps = manifest.verification.gaps
    rows = [_tensor_row(one, where[one.step], bounds[one.step]) for one in gaps]
    used = [one.gap.max_rel / bounds[one.step].max_rel for one in gaps]
    if rows and max(used) > 0:
        worst = used.index(max(used))
        rows[worst] = replace(rows[worst], worst=True)
    return tuple(rows)


def _tensor_row(one: StepMetrics, runs_on: str, bound: Tolerance) -> TensorRow:
    gap = one.gap
    return TensorRow(
        one.step,
        runs_on,
        gap.tensor,
        gap.max_abs,
        gap.max_rel,
        gap.cosine,
        str(bound),
        bound.admits(gap),
    )


def precision_rows(noted: Mapping[str, float]) -> tuple[PrecisionRow, ...]:
    """MAP of the chain and of the reference, as far as the manifest's notes have both."""
    return tuple(
        PrecisionRow(what, noted[key], noted[f"torch_{key}"])
        for key, what in _MEANS.items()
        if key in noted and f"torch_{key}" in noted
    )


def _tools(manifest: Manifest) -> dict[str, str]:
    found = dict(manifest.tools)
    for one in manifest.artifacts:
        found |= one.tools
    return found


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """``key: value`` of everything in nested mappings that is not empty."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flat(f"{key}.{name}" if key else str(name), item)
    elif value not in (None, [], ""):
        yield key, value


def environment(tools: Mapping[str, str]) -> Environment:
    """This machine, now.

    Args:
        tools: versions of what made the bundle.
    """
    return Environment(
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        system=platform.platform(),
        processor=_processor(),
        cores=os.cpu_count() or 0,
        python=platform.python_version(),
        tools=dict(tools),
    )


def _processor() -> str:
    """Its name where the system tells one, else its kind."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(errors="replace").splitlines() if listed.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
