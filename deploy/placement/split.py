"""A planned graph -> the segment of each region."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from backends.contract import Segment, Tensors
from deploy.graph.exported import Exported
from deploy.graph.observed_shapes import observed_specs
from deploy.partition.cut_points import Cut
from deploy.partition.segments import partition
from deploy.placement.operator_graph import OperatorGraph
from deploy.placement.plan import PlacementPlan


@dataclass(frozen=True)
class RegionBoundary:
    """Where a region begins and ends, by the numbers of tensors.

    Attributes:
        starts: the tensors that it takes.
        ends: the tensors that it gives to others.
    """

    starts: tuple[int, ...]
    ends: tuple[int, ...]


def region_boundary(graph: OperatorGraph, nodes: Collection[int]) -> RegionBoundary:
    """The boundary of a set of nodes."""
    inside = set(nodes)
    read = (t for node in sorted(inside) for t in graph.nodes[node].reads)
    starts = dict.fromkeys(t for t in read if graph.tensors[t].producer not in inside)
    written = (t for node in sorted(inside) for t in graph.nodes[node].writes)
    ends = (
        t
        for t in written
        if graph.tensors[t].is_output or not inside.issuperset(graph.tensors[t].consumers)
    )
    return RegionBoundary(tuple(starts), tuple(ends))


def region_cuts(
    graph: OperatorGraph,
    plan: PlacementPlan,
    names: Sequence[str],
    tensor_names: Mapping[int, str],
) -> Iterator[Cut]:
    """The cut of each region.

    The first region also takes the inputs that nothing needs and gives the outputs that are the
    same in every run.

    Args:
        graph: the graph.
        plan: of it.
        names: of the segments.
        tensor_names: the name in the chain of each tensor between regions, by its number.
    """
    unused = [t.name for t in graph.tensors if t.producer is None and not t.consumers]
    for number, (region, name) in enumerate(zip(plan.regions, names, strict=True)):
        boundary = region_boundary(graph, region.nodes)
        starts = [graph.tensors[tensor].name for tensor in boundary.starts]
        ends = [graph.tensors[tensor].name for tensor in boundary.ends]
        outputs = [tensor_names.get(t, graph.tensors[t].name) for t in boundary.ends]
        if not number:
            starts, ends = [*starts, *unused], [*ends, *graph.constant_outputs]
            outputs += graph.constant_outputs
        yield Cut(name, starts, ends, outputs)


def chain_names(
    graph: OperatorGraph, plan: PlacementPlan, segment: str, taken: Collection[str]
) -> dict[int, str]:
    """A name in the chain for each tensor between regions, by its number.

    It is the tensor's own where no other tensor of the chain has that.

    Args:
        graph: the graph.
        plan: of it.
        segment: that is divided.
        taken: the names of the tensors of the chain.
    """
    names: dict[int, str] = {}
    used = set(taken)
    for tensor in dict.fromkeys(border.tensor for border in plan.borders):
        own = graph.tensors[tensor].name
        if graph.tensors[tensor].is_output:
            names[tensor] = own  # the segment's output has its name in the chain
            continue
        candidates = (f"{segment}.{own}" + f".{n}" * bool(n) for n in count())
        names[tensor] = own if own not in used else next(n for n in candidates if n not in used)
        used.add(names[tensor])
    return names


def split_segment(
    exported: Exported, cuts: Sequence[Cut], out: Path, values: Tensors | None = None
) -> tuple[Segment, ...]:
    """Write the segment of each cut.

    Args:
        exported: the graph that the cuts divide completely.
        cuts: in an order in which they can run.
        out: the folder that gets the files.
        values: the reference's value of the tensors between them by their names in the chain, if
            the sizes that the file says or that are inferred are to be checked against them.

    Raises:
        PartitionError: the cuts do not divide the graph.
    """
    segments = partition(exported, cuts, out, complete=True).segments
    if values is None:
        return segments
    names = {
        chain: graph
        for cut in cuts
        for graph, chain in zip(cut.end, cut.outputs or cut.end, strict=True)
    }
    specs = {spec.name: spec for segment in segments for spec in segment.outputs}
    known = tuple(spec for spec in specs.values() if spec.name in values)
    observed = observed_specs(known, values, exported.inputs)
    if not observed:
        return segments
    in_graph = (replace(spec, name=names[spec.name]) for spec in observed)
    corrected = replace(exported, observed=(*exported.observed, *in_graph))
    return partition(corrected, cuts, out, complete=True).segments
