"""What ``deploy.inspect`` shows: tables for people, and the same as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from backends.contract import Specs, TensorSpec
from deploy.analysis.plan import Plan, cost_lines, flops_of, scaled
from deploy.analysis.survey import CutCandidate, ModelSurvey
from deploy.report.chain_diagram import bytes_of
from deploy.report.progress import format_bytes

_ROWS = 24  # of the tensors that a file can be cut at, unless all are asked for


_SLIPS = 2  # of the tensors that would slip past a cut


@dataclass(frozen=True)
class Inspection:
    """A model and, if its cuts can be made, what they give."""

    model: str
    inputs: Specs
    survey: ModelSurvey
    plan: Plan | None = None

    @property
    def made(self) -> Plan:
        """The plan, once there is one."""
        assert self.plan is not None, "the cuts were made"
        return self.plan


def show(console: Console, found: Inspection, *, every: bool) -> None:
    """Print the model, its marks, where a file can be cut, and the segments."""
    total = ", ".join(cost_lines(found.survey.total))
    console.print(f"{found.model}: {found.survey.nodes} operations, {total}", highlight=False)
    for spec in found.inputs:
        console.print(f"  takes {spec.name} {spec}", highlight=False, markup=False)
    if found.survey.marks:
        console.print("", _cut_table("mark", found.survey.marks), sep="\n")
    if found.survey.dropped:
        console.print(f"dropped by the exporter: {', '.join(found.survey.dropped)}")
    if found.survey.tensors:
        tensors = found.survey.tensors if every else _narrowest(found.survey.tensors)
        console.print("", _cut_table("tensor to cut at", tensors), sep="\n")
        more = len(found.survey.tensors) - len(tensors)
        if more:
            console.print(f"the narrowest {len(tensors)}; --all lists {more} more", highlight=False)
    if found.plan is not None:
        console.print("", _segment_table(found.plan), "", sep="\n")


def inspection_json(found: Inspection) -> dict[str, Any]:
    """Everything, as plain JSON values."""
    survey = found.survey
    return {
        "model": found.model,
        "inputs": [_spec(spec) for spec in found.inputs],
        "total": asdict(survey.total),
        "marks": [_cut(one) for one in survey.marks],
        "tensors": [_cut(one) for one in survey.tensors],
        "dropped": list(survey.dropped),
        "segments": [
            {
                "name": one.segment.name,
                "onnx": str(one.segment.onnx),
                "inputs": [_spec(spec) for spec in one.segment.inputs],
                "outputs": [_spec(spec) for spec in one.segment.outputs],
                **asdict(one.load),
            }
            for one in found.made.segments
        ],
        "between": [
            {
                "name": step.name,
                "id": step.id,
                "inputs": [_spec(spec) for spec in step.inputs],
                "outputs": [_spec(spec) for spec in step.outputs],
                "calls": list(step.calls),
            }
            for step in found.made.between
        ],
        "host": found.made.host,
    }


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
            _plain(cut.point),
            _plain(_tensors(cut.tensors)),
            format_bytes(_bytes(cut.tensors)),
            f"{scaled(before.parameters)} + {scaled(after.parameters)}",
            f"{flops_of(before)} + {flops_of(after)}",
            "yes" if cut.legal else _plain(f"no, also {_few(cut.slips)}"),
        )
    return table


def _segment_table(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("segment", "takes", "gives"):
        table.add_column(name, overflow="fold")
    for name in ("bytes in", "bytes out", "parameters", "FLOP"):
        table.add_column(name, justify="right")
    for one in plan.segments:
        segment = one.segment
        table.add_row(
            segment.name,
            _plain(_named(segment.inputs)),
            _plain(_named(segment.outputs)),
            format_bytes(_bytes(segment.inputs)),
            format_bytes(_bytes(segment.outputs)),
            scaled(one.load.parameters),
            flops_of(one.load),
        )
    return table


def _narrowest(cuts: Sequence[CutCandidate]) -> list[CutCandidate]:
    """The cuts over which the fewest bytes go, in the order of the data flow."""
    sizes = {cut.point: _bytes(cut.tensors) for cut in cuts}
    ranked = sorted(cuts, key=lambda cut: (sizes[cut.point] is None, sizes[cut.point] or 0))
    chosen = {cut.point for cut in ranked[:_ROWS]}
    return [cut for cut in cuts if cut.point in chosen]


def _bytes(specs: Sequence[TensorSpec]) -> int | None:
    """Their bytes together, where all are known."""
    sizes = [bytes_of(spec) for spec in specs]
    return sum(size for size in sizes if size is not None) if None not in sizes else None


def _tensors(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(str(spec) for spec in specs)


def _named(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec}" for spec in specs)


def _few(names: Sequence[str]) -> str:
    more = len(names) - _SLIPS
    return ", ".join(names[:_SLIPS]) + (f" and {more} more" if more > 0 else "")


def _plain(text: str) -> str:
    """Text in which rich sees no markup."""
    return text.replace("[", "\\[")


def _cut(cut: CutCandidate) -> dict[str, Any]:
    return {
        "point": cut.point,
        "tensors": [_spec(spec) for spec in cut.tensors],
        "bytes": _bytes(cut.tensors),
        "legal": cut.legal,
        "slips": list(cut.slips),
        "before": asdict(cut.before),
        "after": asdict(cut.after),
    }


def _spec(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "spec": str(spec), "bytes": bytes_of(spec)}
