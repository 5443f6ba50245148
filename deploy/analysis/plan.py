"""The plan of a recipe's cuts: the segments with their costs, and a diagram of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from backends.contract import Dynamic, Segment, TensorSpec
from backends.support import Support
from deploy.analysis.survey import Cost
from deploy.graph.exported import Exported
from deploy.graph.flops import total_flops
from deploy.graph.loading import load_graph
from deploy.placement.record import PlacementRecord
from deploy.report.chain_diagram import bytes_of, tensor_label
from deploy.report.placement_diagram import (
    border_tooltip,
    flow_label,
    placement_key,
    region_boxes,
)
from deploy.report.svg.column import render_column
from deploy.report.svg.diagram import Arrow, Box, render_svg
from deploy.runtime.bundle.manifest import HostStep

_HOST = "the host"


@dataclass(frozen=True)
class PlannedSegment:
    """A segment and its cost.

    Attributes:
        segment: the segment.
        cost: of it.
        support: what the parser of its engine says of it, if the recipe names an engine that has
            one.
    """

    segment: Segment
    cost: Cost
    support: Support | None = None


@dataclass(frozen=True)
class Plan:
    """A chain before it is converted.

    Attributes:
        segments: in the order of their cuts.
        inputs: the inputs of the model that a segment takes.
        results: the outputs of the model that a segment has.
        host: the host step after the chain, or None.
        between: the host steps of the chain.
        placement: how the segments were divided between engines, if the planner did that.
    """

    segments: tuple[PlannedSegment, ...]
    inputs: tuple[TensorSpec, ...]
    results: tuple[str, ...]
    host: str | None = None
    between: tuple[HostStep, ...] = ()
    placement: PlacementRecord | None = None

    @property
    def steps(self) -> list[Segment | HostStep]:
        """The segments, then the host steps of the chain."""
        return [*(planned.segment for planned in self.segments), *self.between]

    def chain_outputs(self) -> Iterator[tuple[str, TensorSpec]]:
        """The chain's outputs, each with the step that it comes from."""
        taken = {spec.name for step in self.steps for spec in step.inputs}
        for step in self.steps:
            for spec in step.outputs:
                if spec.name not in taken or spec.name in self.results:
                    yield step.name, spec


def plan_segment(segment: Segment, support: Support | None = None) -> PlannedSegment:
    """A segment with its cost, counted on its own file."""
    graph = load_graph(Exported(segment.onnx, segment.inputs)).graph
    dims = [dim for spec in segment.inputs for dim in spec.dims]
    flops = total_flops(graph, {dim.name: dim.opt for dim in dims if isinstance(dim, Dynamic)})
    weights = [value.const_value for value in graph.initializers.values()]
    parameters = sum(weight.size for weight in weights if weight is not None)
    return PlannedSegment(segment, Cost(parameters, flops.known, flops.unknown), support)


def plan_svg(title: str, plan: Plan) -> str:
    """The plan as an SVG document: segments, the tensors between them, and the host steps.

    With a placement the segments are in one column, coloured by engine, with the reasons of borders
    as tooltips.
    """
    boxes, arrows = _plan_boxes(plan)
    if plan.placement is None:
        return render_svg(title, boxes, arrows)
    placed = {box.key: box for box in region_boxes(plan.placement)}
    boxes = [placed.get(box.key, box) for box in boxes]
    return render_column(title, boxes, arrows, placement_key(plan.placement), heading=title)


def _plan_boxes(plan: Plan) -> tuple[list[Box], list[Arrow]]:
    producers = {spec.name: f"input {spec.name}" for spec in plan.inputs}
    boxes = [Box(key, name, (), "input") for name, key in producers.items()]
    producers |= {spec.name: step.name for step in plan.steps for spec in step.outputs}
    boxes += [
        Box(planned.segment.name, planned.segment.name, cost_lines(planned.cost), "segment")
        for planned in plan.segments
    ]
    boxes += [Box(step.name, step.name, (step.id,), "host") for step in plan.between]
    arrows = [
        _flow(plan, producers.get(spec.name, _HOST), step.name, spec)
        for step in plan.steps
        for spec in step.inputs
    ]
    if any(arrow.source == _HOST for arrow in arrows):
        boxes.append(Box(_HOST, _HOST, ("makes what no segment does",), "host"))
    if plan.host is not None:
        boxes.append(Box(plan.host, plan.host, (), "host"))
    for producer, spec in plan.chain_outputs():
        key = plan.host or f"output {spec.name}"
        if plan.host is None:
            boxes.append(Box(key, spec.name, (), "output"))
        arrows.append(_flow(plan, producer, key, spec))
    return boxes, arrows


def _flow(plan: Plan, source: str, target: str, spec: TensorSpec) -> Arrow:
    if plan.placement is None:
        return Arrow(source, target, tensor_label(spec))
    tooltips = {
        (border.source, border.target, border.tensor): border_tooltip(border)
        for border in plan.placement.borders
    }
    label = flow_label(spec.name, str(spec), bytes_of(spec))
    return Arrow(source, target, label, tooltips.get((source, target, spec.name), spec.name))


def cost_lines(cost: Cost) -> tuple[str, str]:
    """Such as ``3.9M parameters`` and ``2.5G FLOP``, with a + where nodes were not counted."""
    return f"{format_count(cost.parameters)} parameters", f"{format_flops(cost)} FLOP"


def format_flops(cost: Cost) -> str:
    """Such as ``2.5G``, with a + where nodes were not counted."""
    return format_count(cost.flops) + ("+" if cost.unknown else "")


def format_count(count: int) -> str:
    """Such as ``3.9M``."""
    for factor, prefix in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= factor:
            return f"{count / factor:.3g}{prefix}"
    return str(count)
