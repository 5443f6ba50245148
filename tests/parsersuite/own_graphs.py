"""The own graphs of the cut suite, whole and in segments, as tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from backends.contract import DeployError, Dim, Dynamic, Segment, Specs
from tests.cutsuite.cases import Case
from tests.cutsuite.check import cut, forms
from tests.cutsuite.own import own_cases
from tests.cutsuite.plans import plans
from tests.cutsuite.suite import DEEP
from tests.cutsuite.usable import UnusableError, usable
from tests.parsersuite.outcome import Task
from tests.parsersuite.packaged import task_of

_CUTS_OF_DEEP = 2
_LARGER = 4  # the largest size of an open dimension, as a multiple of the usual one


def whole_tasks(folder: Path) -> Iterator[Task]:
    """Each own graph as it is."""
    return (task_of(case, folder / "whole") for case in own_cases())


def segment_tasks(folder: Path, cap: int, seed: int) -> Iterator[Task]:
    """The segments of up to ``cap`` cuts of each own graph, as ``scripts/check-cuts`` draws them.

    Cuts that the partition refuses give none.
    """
    for case in own_cases():
        yield from _segments_of(case, folder / "cut" / case.name, cap, seed)


def _segments_of(case: Case, folder: Path, cap: int, seed: int) -> Iterator[Task]:
    folder.mkdir(parents=True)
    try:
        model = usable(case, folder)
    except UnusableError:
        return
    few = _CUTS_OF_DEEP if len(model.reading.reads) > DEEP else cap
    for plan in plans(model.reading, few, f"{seed} {case.name}"):
        for form in forms(model):
            if form == "across":
                continue  # the same segments as those of the explicit form
            where = folder / f"{plan.name.replace(':', '-')}-{form}"
            try:
                segments = cut(model, plan, form, where).segments
            except DeployError:
                continue
            yield from (_task(segment, f"{case.name} {plan.name} {form}") for segment in segments)


def _task(segment: Segment, cut_name: str) -> Task:
    return Task(
        f"{cut_name} {segment.name}",
        str(segment.onnx),
        inputs=_with_ranges(segment.inputs),
        outputs=segment.outputs,
    )


def _with_ranges(specs: Specs) -> Specs:
    """Open sizes in a range that a GPU's memory has room for."""
    return tuple(
        replace(spec, shape=tuple(map(_bounded, spec.dims)) if spec.shape is not None else None)
        for spec in specs
    )


def _bounded(dim: Dim) -> Dim:
    if isinstance(dim, int):
        return dim
    usual = max(dim.opt, 1)
    return Dynamic(dim.name, 1, usual, _LARGER * usual)
