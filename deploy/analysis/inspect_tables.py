"""The output of ``inspect``: tables for people, and the same as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from backends.codec import to_json
from backends.contract import Specs, TensorSpec
from deploy.analysis.plan import Plan, cost_lines, format_count, format_flops
from deploy.analysis.survey import CutCandidate, ModelSurvey
from deploy.report.chain_diagram import bytes_of
from deploy.report.placement import print_placement
from deploy.report.progress import format_bytes

_MAX_ROWS = 24  # of the tensors to cut at, without --all


_MAX_CROSSING = 2  # of the other tensors that cross a cut


@dataclass(frozen=True)
class Inspection:
    """The survey of a model and, if its cuts are legal, the plan of them."""

    model: str
    inputs: Specs
    survey: ModelSurvey
    plan: Plan | None = None

    @property
    def planned(self) -> Plan:
        """The plan, which must be there."""
        assert self.plan is not None, "the model was cut"
        return self.plan


def show(console: Console, inspection: Inspection, *, every: bool) -> None:
    """Print the model, its marks, its cut candidates and the segments.

    With a placement its tables are in the place of that of the segments, and the tensors to cut at
    are listed only where every one is wanted.

    Args:
        console: prints.
        inspection: what is printed.
        every: whether all tensors to cut at are listed, or the narrowest.
    """
    total = ", ".join(cost_lines(inspection.survey.total))
    console.print(
        f"{inspection.model}: {inspection.survey.nodes} operations, {total}", highlight=False
    )
    for spec in inspection.inputs:
        console.print(f"  takes {spec.name} {spec}", highlight=False)
    if inspection.survey.marks:
        console.print("", _cut_table("mark", inspection.survey.marks), sep="\n")
    if inspection.survey.dropped:
        console.print(f"dropped by the exporter: {', '.join(inspection.survey.dropped)}")
    placement = inspection.plan.placement if inspection.plan is not None else None
    if inspection.survey.tensors and (every or placement is None):
        tensors = inspection.survey.tensors if every else _narrowest(inspection.survey.tensors)
        console.print("", _cut_table("tensor to cut at", tensors), sep="\n")
        more = len(inspection.survey.tensors) - len(tensors)
        if more:
            console.print(f"the narrowest {len(tensors)}; --all lists {more} more", highlight=False)
    if inspection.plan is not None:
        if placement is None:
            console.print("", _segment_table(inspection.plan), "", sep="\n")
        else:
            console.print("")
            print_placement(console, placement)
            console.print("")
        for line in _support_lines(inspection.plan):
            console.print(line, highlight=False, soft_wrap=True)


def inspection_json(inspection: Inspection) -> dict[str, Any]:
    """The survey and the plan as plain JSON values."""
    survey, placement = inspection.survey, inspection.planned.placement
    return {
        "model": inspection.model,
        "inputs": [_spec_json(spec) for spec in inspection.inputs],
        "total": asdict(survey.total),
        "marks": [_candidate_json(cut) for cut in survey.marks],
        "tensors": [_candidate_json(cut) for cut in survey.tensors],
        "dropped": list(survey.dropped),
        "segments": [
            {
                "name": planned.segment.name,
                "onnx": str(planned.segment.onnx),
                "inputs": [_spec_json(spec) for spec in planned.segment.inputs],
                "outputs": [_spec_json(spec) for spec in planned.segment.outputs],
                **asdict(planned.cost),
                "support": asdict(planned.support) if planned.support else None,
            }
            for planned in inspection.planned.segments
        ],
        "between": [
            {
                "name": step.name,
                "id": step.id,
                "inputs": [_spec_json(spec) for spec in step.inputs],
                "outputs": [_spec_json(spec) for spec in step.outputs],
                "calls": list(step.calls),
            }
            for step in inspection.planned.between
        ],
        "host": inspection.planned.host,
        "placement": to_json(placement) if placement is not None else None,
    }


def _support_lines(plan: Plan) -> Iterator[str]:
    for planned in plan.segments:
        if planned.support is not None:
            yield from planned.support.lines(planned.segment.name)


def _cut_table(title: str, cuts: Sequence[CutCandidate]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in (title, "carries"):
        table.add_column(name, overflow="fold")
    for name in ("bytes", "parameters before + behind", "FLOP before + behind"):
        table.add_column(name, justify="right")
    table.add_column("legal alone", overflow="fold")
    for cut in cuts:
        before, after = cut.before, cut.after
        table.add_row(
            cut.point,
            _tensors(cut.tensors),
            format_bytes(_bytes(cut.tensors)),
            f"{format_count(before.parameters)} + {format_count(after.parameters)}",
            f"{format_flops(before)} + {format_flops(after)}",
            "yes" if cut.legal else f"no, also {_few(cut.slips)}",
        )
    return table


def _segment_table(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("segment", "takes", "gives"):
        table.add_column(name, overflow="fold")
    for name in ("bytes in", "bytes out", "parameters", "FLOP"):
        table.add_column(name, justify="right")
    for planned in plan.segments:
        segment = planned.segment
        table.add_row(
            segment.name,
            _named(segment.inputs),
            _named(segment.outputs),
            format_bytes(_bytes(segment.inputs)),
            format_bytes(_bytes(segment.outputs)),
            format_count(planned.cost.parameters),
            format_flops(planned.cost),
        )
    return table


def _narrowest(cuts: Sequence[CutCandidate]) -> list[CutCandidate]:
    """The cuts with the fewest bytes of boundary tensors, in the order of the data flow."""
    sizes = {cut.point: _bytes(cut.tensors) for cut in cuts}
    ranked = sorted(cuts, key=lambda cut: (sizes[cut.point] is None, sizes[cut.point] or 0))
    chosen = {cut.point for cut in ranked[:_MAX_ROWS]}
    return [cut for cut in cuts if cut.point in chosen]


def _bytes(specs: Sequence[TensorSpec]) -> int | None:
    """The sum of their bytes; None where one is not known."""
    sizes = [bytes_of(spec) for spec in specs]
    return sum(size for size in sizes if size is not None) if None not in sizes else None


def _tensors(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(str(spec) for spec in specs)


def _named(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec}" for spec in specs)


def _few(names: Sequence[str]) -> str:
    more = len(names) - _MAX_CROSSING
    return ", ".join(names[:_MAX_CROSSING]) + (f" and {more} more" if more > 0 else "")


def _candidate_json(cut: CutCandidate) -> dict[str, Any]:
    return {
        "point": cut.point,
        "tensors": [_spec_json(spec) for spec in cut.tensors],
        "bytes": _bytes(cut.tensors),
        "legal": cut.legal,
        "slips": list(cut.slips),
        "before": asdict(cut.before),
        "after": asdict(cut.after),
    }


def _spec_json(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "spec": str(spec), "bytes": bytes_of(spec)}
