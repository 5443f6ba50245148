"""What a run made -> its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from backends.gap import Tolerance
from deploy.outcome import Outcome
from deploy.progress import Stage
from deploy.recipe import Recipe
from deploy.report import notes, shown
from deploy.reporting.chain import arrows, boxes
from deploy.reporting.contents import MeanPrecision, Parity, Report, StageTime
from deploy.reporting.environment import environment
from deploy.reporting.sightings import sightings
from deploy.runtime.contents import content_of
from deploy.runtime.gaps import CHAIN, label, tolerances
from deploy.runtime.manifest import MANIFEST, Manifest, StepGap

_MEANS = {
    "map_50": "Boxes, mAP@0.5",
    "map": "Boxes, mAP@.5:.95",
    "mask_map_50": "Masks, mAP@0.5",
    "mask_map": "Masks, mAP@.5:.95",
}


def collect(
    outcome: Outcome, recipe: Recipe, stages: Sequence[Stage], job: str, command: str
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
        bundle=str(shown(outcome.bundle)),
        manifest=content_of(outcome.bundle / MANIFEST).sha256,
        against=outcome.against,
        status=manifest.verification.status,
        problem=str(verdict.problem) if verdict.problem else "",
        size=outcome.size,
        boxes=boxes(manifest),
        arrows=arrows(manifest),
        notes=tuple(notes(outcome)),
        parity=parity(manifest),
        sightings=sightings(outcome.pictures, verdict.expected, verdict.found, manifest.classes),
        matched=int(noted["detections_matched"]) if "detections" in noted else None,
        total=int(noted["detections"]) if "detections" in noted else None,
        latency=latency.parts if latency else (),
        runs=latency.runs if latency else 0,
        means=means(noted),
        evaluable=recipe.model.eval is not None,
        pending=outcome.pending,
        stages=tuple(StageTime(one.name, one.seconds, one.kept) for one in stages),
        environment=environment(_tools(manifest)),
        recipe=dict(_flat("", asdict(recipe))),
    )


def parity(manifest: Manifest) -> tuple[Parity, ...]:
    """A row for each tensor that was compared; the worst is the one nearest to its bound."""
    bounds = tolerances(manifest)
    where = {step.name: f"{step.backend}, {step.precision}" for step in manifest.steps}
    where |= {step.name: "host" for step in manifest.host} | {CHAIN: "all of it"}
    where |= {label(one): f"{one.backend}, {one.precision}" for one in manifest.alternatives}
    gaps = manifest.verification.gaps
    rows = [_row(one, where[one.step], bounds[one.step]) for one in gaps]
    used = [one.gap.max_rel / bounds[one.step].max_rel for one in gaps]
    if rows and max(used) > 0:
        worst = used.index(max(used))
        rows[worst] = replace(rows[worst], worst=True)
    return tuple(rows)


def _row(one: StepGap, runs_on: str, bound: Tolerance) -> Parity:
    gap = one.gap
    return Parity(
        one.step,
        runs_on,
        gap.tensor,
        gap.max_abs,
        gap.max_rel,
        gap.cosine,
        str(bound),
        bound.admits(gap),
    )


def means(noted: Mapping[str, float]) -> tuple[MeanPrecision, ...]:
    """MAP of the chain and of the reference, as far as the manifest's notes have both."""
    return tuple(
        MeanPrecision(what, noted[key], noted[f"torch_{key}"])
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
