"""Placed segments -> what is told of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from deploy.placement.place import PlacedSegment
from deploy.placement.record import PlacedBorder, PlacedRegion, PlacementRecord, RefusedOperator
from deploy.recipe.schema import BackendRecipe


def placement_record(
    engines: Sequence[BackendRecipe],
    placed: Sequence[PlacedSegment],
    seconds: float,
    remembered: bool,
) -> PlacementRecord:
    """What is told of a placement.

    Args:
        engines: the preferred ones, the first first.
        placed: the segments that were divided.
        seconds: that it took.
        remembered: whether earlier runs had tried all of it.
    """
    names = tuple(engine.name for engine in engines)
    notes = [
        f"{engine.name} is built on the device, which tries its segments"
        for engine in engines
        if engine.build == "device"
    ]
    return PlacementRecord(
        prefer=names,
        regions=tuple(region for item in placed for region in _regions(item, names)),
        borders=tuple(border for item in placed for border in _borders(item)),
        refused=tuple(_refused(placed, names)),
        notes=tuple(dict.fromkeys([*notes, *(n for item in placed for n in item.learnt.notes)])),
        trials=sum(item.learnt.trials for item in placed),
        seconds=seconds,
        complete=all(item.learnt.complete for item in placed),
        remembered=remembered,
    )


def _regions(item: PlacedSegment, engines: Sequence[str]) -> Iterator[PlacedRegion]:
    for region, segment in zip(item.plan.regions, item.segments, strict=True):
        nodes = [item.graph.nodes[node] for node in region.nodes]
        yield PlacedRegion(
            segment.name,
            engines[region.engine],
            len(nodes),
            sum(node.macs for node in nodes),
            tuple(Counter(node.operator for node in nodes).most_common()),
            nodes[0].label,
            nodes[-1].label,
        )


def _borders(item: PlacedSegment) -> Iterator[PlacedBorder]:
    in_chain = {name: chain for chain, name in item.tensors.items()}
    for border in item.plan.borders:
        tensor = item.graph.tensors[border.tensor]
        yield PlacedBorder(
            in_chain.get(tensor.name, tensor.name),
            str(tensor.spec),
            tensor.size,
            item.segments[border.source].name,
            item.segments[border.target].name,
            item.graph.nodes[border.node].label,
            border.reason,
        )


def _refused(placed: Sequence[PlacedSegment], engines: Sequence[str]) -> Iterator[RefusedOperator]:
    """Nodes of one operator and reason together, in the order in which they occur."""
    for rank, engine in enumerate(engines):
        groups: dict[tuple[str, str, bool], list[str]] = {}
        for item in placed:
            tried = set(item.learnt.tried[rank])
            for number, reason in sorted(_reasons(item, rank).items()):
                node = item.graph.nodes[number]
                key = node.operator, reason, node.output in tried
                groups.setdefault(key, []).append(node.label)
        for (operator, reason, learnt), labels in groups.items():
            yield RefusedOperator(engine, operator, reason, len(labels), labels[0], learnt)


def _reasons(item: PlacedSegment, rank: int) -> Mapping[int, str]:
    """Why an engine does not have nodes that a less preferred one has."""
    placed = {n: region.engine for region in item.plan.regions for n in region.nodes}
    return {n: why for n, why in item.plan.reasons[rank].items() if placed[n] > rank}
