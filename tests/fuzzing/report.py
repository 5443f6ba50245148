"""Outcomes of a campaign, added up and written down."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.fuzzing.campaign import FAULTS, Outcome
from tests.fuzzing.trees import to_json
from tests.fuzzing.worker import Given

_VERDICTS = ("ok", "refused", *FAULTS)
_DOORS = 12  # places of refusal that are listed


@dataclass
class Report:
    """What came of the cases of a kind.

    Attributes:
        kind: its name.
        seconds: that the campaign took.
        verdicts: how many there were of each.
        doors: how many cases each place refused.
        faults: the first outcome of each verdict and place.
        times: how many there were of it.
        slowest: the seconds of the slowest case, and its number.
    """

    kind: str
    seconds: float = 0.0
    verdicts: Counter[str] = field(default_factory=Counter)
    doors: Counter[str] = field(default_factory=Counter)
    faults: dict[str, Outcome] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, int] = (0.0, -1)

    def add(self, outcome: Outcome) -> bool:
        """Count an outcome; true if it is the first fault of its cause."""
        self.verdicts[outcome.verdict] += 1
        self.slowest = max(self.slowest, (round(outcome.seconds, 2), outcome.number))
        if not outcome.fault:
            self.doors[outcome.place or "accepted"] += 1
            return False
        cause = f"{outcome.verdict}: {outcome.place}"
        self.times[cause] += 1
        return self.faults.setdefault(cause, outcome) is outcome

    @property
    def cases(self) -> int:
        """How many there were."""
        return sum(self.verdicts.values())

    def progress(self, total: int, seconds: float) -> str:
        """How far it is."""
        faults = sum(self.times.values())
        return f"{self.kind}: {self.cases:,} of {total:,}, {faults} faults, {seconds:.0f} s"


def table(reports: Sequence[Report]) -> str:
    """The counts of every kind."""
    lines = [f"| kind | cases | {' | '.join(_VERDICTS)} | slowest | seconds |"]
    lines.append("|---" * (len(_VERDICTS) + 4) + "|")
    for one in reports:
        counts = " | ".join(str(one.verdicts[verdict]) for verdict in _VERDICTS)
        slowest = f"{one.slowest[0]:.1f} s ({one.slowest[1]})"
        lines.append(f"| {one.kind} | {one.cases:,} | {counts} | {slowest} | {one.seconds:.0f} |")
    return "\n".join(lines)


def causes(report: Report) -> list[str]:
    """One line for each cause of faults, the most frequent first."""
    return [
        f"{times:>5} x {report.kind} {cause}   --only {report.faults[cause].number}"
        + ("" if report.faults[cause].alone else "   (not when alone)")
        for cause, times in report.times.most_common()
    ]


def write_report(folder: Path, report: Report) -> None:
    """Write the counts, and what refused how many."""
    folder.mkdir(parents=True, exist_ok=True)
    data: Mapping[str, object] = {
        "kind": report.kind,
        "cases": report.cases,
        "seconds": round(report.seconds, 1),
        "verdicts": dict(report.verdicts),
        "slowest": report.slowest,
        "doors": dict(report.doors.most_common()),
        "faults": {
            cause: {"times": report.times[cause], **asdict(one)}
            for cause, one in report.faults.items()
        },
    }
    (folder / "report.json").write_text(json.dumps(data, indent=1) + "\n")


def write_fault(folder: Path, outcome: Outcome, given: Given) -> None:
    """Write what was handed over, as far as it is plain files, and the story of the fault."""
    place = folder / str(outcome.number)
    place.mkdir(parents=True, exist_ok=True)
    story = [
        f"{outcome.verdict}: {outcome.place}",
        f"changes: {', '.join(outcome.changes)}",
        outcome.detail,
    ]
    (place / "story.txt").write_text("\n".join(story), errors="replace")
    (place / "tree.json").write_text(json.dumps(to_json(given.tree)))
    for name, node in given.tree.items():
        if node.sort == "file":
            target = place / "given" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(node.data)
