"""How a model was divided between engines: the figures of a deployment that made its own chain."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backends.codec import from_json
from deploy.placement.record import PlacementRecord

_STAGE = "placement"


@dataclass(frozen=True)
class Placement:
    """The figures of a placement.

    Attributes:
        nodes: of the model that depend on its inputs.
        share: of the multiply-adds that the preferred engine has.
        segments: all of them.
        preferred: those of the preferred engine.
        border_bytes: over all borders in one run.
        trials: conversions that were tried.
        complete: whether no search for failing nodes ended at its bound.
        cold: seconds of the planning with an empty cache.
        cold_total: of the whole command.
        warm: as ``cold``, of the same command once more; None where it did not run.
        warm_total: likewise.
    """

    nodes: int
    share: float
    segments: int
    preferred: int
    border_bytes: int
    trials: int
    complete: bool
    cold: float
    cold_total: float
    warm: float | None = None
    warm_total: float | None = None

    def with_second_run(self, second: Placement) -> Placement:
        """These figures with the seconds of a second run, which had the cache of the first."""
        return replace(self, warm=second.cold, warm_total=second.cold_total)


def read_placement(report: Path, engine: str) -> Placement | None:
    """The figures in a ``report.json``; None where it does not exist or has no placement.

    Args:
        report: the file.
        engine: the preferred one.
    """
    values = json.loads(report.read_text()) if report.exists() else {}
    if not values.get("placement"):
        return None
    record = from_json(PlacementRecord, values["placement"], report.name)
    seconds = [stage["seconds"] for stage in values["stages"]]
    planning = [stage["seconds"] for stage in values["stages"] if stage["name"] == _STAGE]
    return Placement(
        nodes=sum(region.nodes for region in record.regions),
        share=record.share(engine),
        segments=len(record.regions),
        preferred=sum(region.engine == engine for region in record.regions),
        border_bytes=record.border_bytes,
        trials=record.trials,
        complete=record.complete,
        cold=round(sum(planning), 2),
        cold_total=round(sum(seconds), 1),
    )


HEADER = (
    "| model | kind | nodes | prefers | verdict | share | segments | border kB | trials "
    "| cold s | warm s | on real samples |"
)


def placement_row(
    model: str, kind: str, engine: str, verdict: str, real: str, placement: Placement | None
) -> str:
    """The row of a case in the table with this header."""
    first = [model, kind, *_cells(placement)[:1], engine, verdict]
    return f"| {' | '.join([*first, *_cells(placement)[1:], real])} |"


def _cells(placement: Placement | None) -> Sequence[str]:
    if placement is None:
        return [""] * 7
    end = "" if placement.complete else " (at its bound)"
    return [
        str(placement.nodes),
        f"{100 * placement.share:.1f} %",
        f"{placement.preferred} of {placement.segments}",
        f"{placement.border_bytes / 1000:.1f}",
        f"{placement.trials}{end}",
        f"{placement.cold:.1f}",
        "" if placement.warm is None else f"{placement.warm:.1f}",
    ]
