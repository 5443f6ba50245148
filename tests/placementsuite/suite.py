"""All plans of one case."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.cutsuite.cases import Case
from tests.cutsuite.usable import Model, UnusableError, usable
from tests.placementsuite.answers import read_answering, real_masks
from tests.placementsuite.check import Outcome, check
from tests.placementsuite.masks import random_mask
from tests.placementsuite.whole import Form, UnloadableError, forms, read_whole


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
        divided_by: the regions of each of them, by the plan's name.
        equal: those whose chains gave the whole's bits.
        within: those of an fp16 model that are within the tolerance and not equal.
        refused: those where no engine took some node, which the planner named.
        failed: what went wrong, by the plan's name.
        unloadable: forms whose whole ONNX Runtime does not load, though it loads the file.
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
    divided_by: dict[str, int] = field(default_factory=dict)
    equal: int = 0
    within: int = 0
    refused: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    unloadable: list[str] = field(default_factory=list)
    gap: float = 0.0
    seconds: float = 0.0

    def command(self, plan: str) -> str:
        """What repeats one of its plans."""
        answers = "" if ":" in plan else " --answers"
        return (
            f".venv/bin/python scripts/check-placement{answers} --model {self.name} --plan {plan}"
        )


def examine(case: Case, plans: int, seed: int = 0, only: Iterable[str] = ()) -> Report:
    """Plan a case with random masks and compare.

    Args:
        case: the case.
        plans: how many of each form.
        seed: of the masks.
        only: the names of the plans to make, such as ``folded:3``.
    """
    chosen = set(only)

    def plan(report: Report, model: Model, folder: Path) -> None:
        for form in forms(model):
            names = [f"{form}:{number}" for number in range(plans)]
            names = [name for name in names if not chosen or name in chosen]
            if names:
                _plan(report, model, form, names, seed, folder)

    return _examine(case, plan)


def examine_answers(case: Case, only: Iterable[str] = ()) -> Report:
    """Plan a case with the answers of the engines that can be asked here, and compare.

    Args:
        case: the case.
        only: the names of the plans to make: the preferred engine's, or ``all``.
    """
    chosen = set(only)

    def plan(report: Report, model: Model, folder: Path) -> None:
        try:
            whole, segment = read_answering(model, folder)
        except UnloadableError:
            report.unloadable.append("folded")
            return
        for name, mask in real_masks(whole, segment):
            if whole.reading.free and (not chosen or name in chosen):
                _add(report, name, check(whole, mask, folder / name))

    return _examine(case, plan)


def _examine(case: Case, plan: Callable[[Report, Model, Path], None]) -> Report:
    report, start = Report(case.name, case.kind), time.monotonic()
    with TemporaryDirectory(prefix="placement-") as folder:
        try:
            model = _usable(case, Path(folder))
        except UnusableError as error:
            report.left_out = str(error)
            return report
        report.nodes = len(model.reading.reads)
        try:
            plan(report, model, Path(folder))
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this case's failure
            report.failed["all"] = f"not planned: {type(error).__name__}: {error}"
    report.seconds = round(time.monotonic() - start, 3)
    return report


def _usable(case: Case, folder: Path) -> Model:
    model = usable(case, folder)
    if not model.runs:
        raise UnusableError("an input or output of it is no tensor")
    if _has_text(model):
        raise UnusableError("an input or output of it is text")
    return model


def _has_text(model: Model) -> bool:
    ends = (*model.reading.inputs, *model.reading.outputs)
    return any(model.types[name] == "tensor(string)" for name in ends if name in model.types)


def _plan(
    report: Report, model: Model, form: Form, names: list[str], seed: int, folder: Path
) -> None:
    try:
        whole = read_whole(model, form, folder / form)
    except UnloadableError:
        report.unloadable.append(form)
        return
    if not whole.reading.free:
        return  # folding left nothing that depends on an input
    for name in names:
        mask = random_mask(whole.graph, f"{seed} {report.name} {name}")
        _add(report, name, check(whole, mask, folder / name.replace(":", "-")))


def _add(report: Report, name: str, outcome: Outcome) -> None:
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
    if outcome.regions > 1:
        report.divided_by[name] = outcome.regions
