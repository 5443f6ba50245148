"""All plans of one case."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.cutsuite.cases import Case
from tests.cutsuite.usable import Model, UnusableError, usable
from tests.placementsuite.check import check
from tests.placementsuite.masks import random_mask
from tests.placementsuite.whole import Form, Whole, forms, read_whole


@dataclass
class Report:
    """What became of a case.

    Attributes:
        name: the case's.
        kind: where it is from.
        left_out: why it is not used; empty if it is.
        nodes: how many it has.
        plans: how many were made.
        regions: of all plans together.
        borders: of all plans together.
        divided: plans of more than one region.
        equal: those whose chains gave the whole's bits.
        within: those of an fp16 model that are within the tolerance and not equal.
        refused: those where no engine took some node, which the planner named.
        failed: what went wrong, by the plan's name.
        gap: the largest absolute difference.
        seconds: how long all that took.
    """

    name: str
    kind: str
    left_out: str = ""
    nodes: int = 0
    plans: int = 0
    regions: int = 0
    borders: int = 0
    divided: int = 0
    equal: int = 0
    within: int = 0
    refused: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    gap: float = 0.0
    seconds: float = 0.0

    def command(self, plan: str) -> str:
        """What repeats one of its plans."""
        return f".venv/bin/python scripts/check-placement --model {self.name} --plan {plan}"


def examine(case: Case, plans: int, seed: int = 0, only: Iterable[str] = ()) -> Report:
    """Plan a case with random masks and compare.

    Args:
        case: the case.
        plans: how many of each form.
        seed: of the masks.
        only: the names of the plans to make, such as ``folded:3``.
    """
    report, start = Report(case.name, case.kind), time.monotonic()
    chosen = set(only)
    with TemporaryDirectory(prefix="placement-") as folder:
        try:
            model = usable(case, Path(folder))
            if not model.runs:
                raise UnusableError("an input or output of it is no tensor")
            if _has_text(model):
                raise UnusableError("an input or output of it is text")
        except UnusableError as error:
            report.left_out = str(error)
            return report
        report.nodes = len(model.reading.reads)
        for form in forms(model):
            names = [f"{form}:{number}" for number in range(plans)]
            names = [name for name in names if not chosen or name in chosen]
            if names:
                _plan(report, model, form, names, seed, Path(folder))
    report.seconds = round(time.monotonic() - start, 3)
    return report


def _has_text(model: Model) -> bool:
    ends = (*model.reading.inputs, *model.reading.outputs)
    return any(model.types[name] == "tensor(string)" for name in ends if name in model.types)


def _plan(
    report: Report, model: Model, form: Form, names: list[str], seed: int, folder: Path
) -> None:
    try:
        whole = read_whole(model, form, folder / form)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is this form's failure
        report.failed[names[0]] = f"not read: {type(error).__name__}: {error}"
        return
    if not whole.reading.free:
        return  # folding left nothing that depends on an input
    for name in names:
        _try(report, whole, name, seed, folder / name.replace(":", "-"))


def _try(report: Report, whole: Whole, name: str, seed: int, folder: Path) -> None:
    outcome = check(whole, random_mask(whole.graph, f"{seed} {report.name} {name}"), folder)
    report.plans += 1
    report.regions += outcome.regions
    report.borders += outcome.borders
    report.divided += outcome.regions > 1
    report.gap = max(report.gap, outcome.gap)
    report.equal += outcome.verdict == "equal"
    report.within += outcome.verdict == "within"
    report.refused += outcome.verdict == "refused"
    if outcome.verdict == "failed":
        report.failed[name] = outcome.why
