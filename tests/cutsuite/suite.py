"""All cuts of one case."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.cutsuite.cases import Case
from tests.cutsuite.check import check, check_at_once
from tests.cutsuite.control import control
from tests.cutsuite.plans import Plan, plan, plans
from tests.cutsuite.usable import Model, UnusableError, usable

DEEP = 2_000  # nodes; of a graph with more, the uncapped suite makes so many cuts:
DEEP_CUTS = 64
AT_ONCE = "all positions at once"
_CONTROLS = 8  # cuts that the negative control may try


@dataclass
class Report:
    """What became of a case.

    Attributes:
        name: the case's.
        kind: where it is from.
        left_out: why it is not used; empty if it is.
        nodes: how many it has.
        half: whether it has fp16 tensors.
        open_sizes: whether each cut was made with the file's open sizes, too.
        cuts: how many were made.
        equal: those whose chains gave the whole's bits in each form.
        within: those of an fp16 model that are within the tolerance and not equal.
        refused: those at a value that is no tensor, which the partition named.
        failed: what went wrong, by the cut's name.
        gap: the largest absolute difference.
        parts: how many segments the chain has that is cut at all these positions at once.
        control: the change at a border that showed; empty for none.
        seconds: how long all that took.
    """

    name: str
    kind: str
    left_out: str = ""
    nodes: int = 0
    half: bool = False
    open_sizes: bool = False
    cuts: int = 0
    equal: int = 0
    within: int = 0
    refused: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    gap: float = 0.0
    parts: int = 0
    control: str = ""
    seconds: float = 0.0

    def command(self, cut: str) -> str:
        """What repeats one of its cuts."""
        which = "" if cut == AT_ONCE else f" --cut {cut}"
        return f".venv/bin/python scripts/check-cuts --model {self.name}{which}"


def examine(case: Case, cap: int | None, seed: int = 0, only: Iterable[str] = ()) -> Report:
    """Cut a case and compare.

    Args:
        case: the case.
        cap: the most cuts; None for all of them.
        seed: of the choice of cuts.
        only: the names of the cuts to make in place of a choice.
    """
    report, start = Report(case.name, case.kind), time.monotonic()
    with TemporaryDirectory(prefix="cuts-") as folder:
        try:
            model = usable(case, Path(folder))
        except UnusableError as error:
            report.left_out = str(error)
            return report
        _cut(report, model, _chosen(model, cap, f"{seed} {case.name}", only), Path(folder))
    report.seconds = round(time.monotonic() - start, 3)
    return report


def _chosen(model: Model, cap: int | None, seed: str, only: Iterable[str]) -> list[Plan]:
    chosen = [plan(model.reading, name) for name in only]
    if cap is None and len(model.reading.reads) > DEEP:
        cap = DEEP_CUTS
    return chosen or list(plans(model.reading, cap, seed))


def _cut(report: Report, model: Model, chosen: list[Plan], folder: Path) -> None:
    report.nodes, report.half = len(model.reading.reads), model.half
    report.open_sizes, report.cuts = model.dynamic is not None, len(chosen)
    sound = []
    for each in chosen:
        outcome = check(model, each, folder)
        report.gap = max(report.gap, outcome.gap)
        report.equal += outcome.verdict == "equal"
        report.within += outcome.verdict == "within"
        report.refused += outcome.verdict == "refused"
        if outcome.verdict == "failed":
            report.failed[each.name] = outcome.why
        if outcome.verdict in ("equal", "within"):
            sound.append(each)
    several = [each for each in sound if each.name.startswith("position")]
    if len(several) > 1:
        _cut_at_once(report, model, several, folder)
    some = islice(sound, 0, None, max(1, len(sound) // _CONTROLS))
    report.control = control(model, some, folder)


def _cut_at_once(report: Report, model: Model, several: list[Plan], folder: Path) -> None:
    outcome = check_at_once(model, several, folder)
    report.gap, report.parts = max(report.gap, outcome.gap), len(several) + 1
    if outcome.verdict == "failed":
        report.failed[AT_ONCE] = outcome.why
