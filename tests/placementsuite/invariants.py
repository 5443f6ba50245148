"""What holds of every plan, by a reading of the graph that is not the planner's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from deploy.placement.operator_graph import OperatorGraph
from deploy.placement.plan import PlacementPlan
from tests.cutsuite.reading import Reading
from tests.placementsuite.masks import Mask

Crossing = set[tuple[str, int, int]]
"""Tensors with the region that computes each and one that reads it."""


@dataclass(frozen=True)
class Checked:
    """A plan in the numbers of the reading.

    Attributes:
        reading: of the graph.
        graph: as the planner read it.
        mask: what the planner was told.
        plan: its answer.
        crossable: for each tensor of the file, whether a chain can hand it over.
    """

    reading: Reading
    graph: OperatorGraph
    mask: Mask
    plan: PlacementPlan
    crossable: dict[str, bool] = field(default_factory=dict)

    @cached_property
    def region_of(self) -> dict[int, int]:
        """The region of each node of the reading; of one in two regions the last."""
        found = {}
        for region, members in enumerate(self.plan.regions):
            for node in members.nodes:
                found[self.reading.maker[self.graph.nodes[node].output]] = region
        return found

    @cached_property
    def masks(self) -> list[int]:
        """The nodes of each region as a bit mask."""
        masks = [0] * len(self.plan.regions)
        for node, region in self.region_of.items():
            masks[region] |= 1 << node
        return masks

    @cached_property
    def crossing(self) -> Crossing:
        """What goes from region to region."""
        found: Crossing = set()
        for node, target in self.region_of.items():
            for name in self.reading.reads[node]:
                source = self.region_of.get(self.reading.maker.get(name, -1), target)
                if source != target:
                    found.add((name, source, target))
        return found


def broken(checked: Checked) -> Iterator[str]:
    """Every invariant that does not hold, in words."""
    yield from _nodes(checked)
    yield from _order(checked)
    yield from _convex(checked)
    yield from _refusals(checked)
    yield from _border_rules(checked)
    yield from _together(checked)
    yield from _listed_borders(checked)
    yield from _limits(checked)


def _nodes(checked: Checked) -> Iterator[str]:
    placed = [node for region in checked.plan.regions for node in region.nodes]
    if len(placed) != len(set(placed)):
        yield "a node is in two regions"
    if set(checked.region_of) != checked.reading.free:
        yield f"nodes {set(checked.region_of) ^ checked.reading.free} are missing or constant"
    if any(not region.nodes for region in checked.plan.regions):
        yield "a region is empty"


def _order(checked: Checked) -> Iterator[str]:
    for name, source, target in checked.crossing:
        if source > target:
            yield f"'{name}' goes back from region {source} to region {target}"


def _convex(checked: Checked) -> Iterator[str]:
    """No node outside a region depends on it and is needed by it."""
    ancestors = checked.reading.ancestors
    for region, mask in enumerate(checked.masks):
        behind = 0
        for node, needed in ancestors.items():
            if not mask >> node & 1 and needed & mask:
                behind |= 1 << node
        if any(ancestors[node] & behind for node in ancestors if mask >> node & 1):
            yield f"a path leaves region {region} and comes back"


def _refusals(checked: Checked) -> Iterator[str]:
    for number, region in enumerate(checked.plan.regions):
        refused = checked.mask.engines[region.engine].refused
        for node in region.nodes:
            if node in refused:
                yield f"region {number} has node {node}, which its engine refuses"


def _border_rules(checked: Checked) -> Iterator[str]:
    for name, source, target in checked.crossing:
        if not checked.crossable.get(name, True):
            yield f"'{name}' goes from region {source} to {target} and cannot be handed over"
    names = {tensor.name: number for number, tensor in enumerate(checked.graph.tensors)}
    ends = [(name, region) for name, *pair in checked.crossing for region in pair]
    inputs, outputs = set(checked.reading.inputs), set(checked.reading.outputs)
    for node, region in checked.region_of.items():
        ends += [(name, region) for name in checked.reading.reads[node] if name in inputs]
        ends += [(name, region) for name in checked.reading.makes[node] if name in outputs]
    for name, region in ends:
        engine = checked.mask.engines[checked.plan.regions[region].engine]
        if names[name] in engine.borders:
            yield f"'{name}' is at a border of {engine.engine}, which cannot have it there"


def _together(checked: Checked) -> Iterator[str]:
    reading, region_of = checked.reading, checked.region_of
    fed = _fed(reading)
    for region in range(len(checked.plan.regions)):
        if fed and not any(region_of[node] == region for node in fed):
            yield f"region {region} needs no input of the model"
    operators = {reading.maker[node.output]: node.operator for node in checked.graph.nodes}
    for name, source, target in checked.crossing:
        maker = operators[reading.maker[name]]
        readers = [
            operators[node]
            for node, region in region_of.items()
            if region == target and name in reading.reads[node]
        ]
        if maker == "QuantizeLinear" and "DequantizeLinear" in readers:
            yield f"'{name}' lies between regions {source} and {target}, and is quantised"


def _fed(reading: Reading) -> set[int]:
    """The nodes that depend on an input of the graph."""
    fed: set[int] = set()
    known = set(reading.inputs)
    for node in sorted(reading.free):
        if known & set(reading.reads[node]):
            fed.add(node)
            known |= set(reading.makes[node])
    return fed


def _listed_borders(checked: Checked) -> Iterator[str]:
    borders = checked.plan.borders
    tensors, nodes = checked.graph.tensors, checked.graph.nodes
    listed = [(tensors[border.tensor].name, border.source, border.target) for border in borders]
    if len(listed) != len(set(listed)):
        yield "a border is listed twice"
    if set(listed) != checked.crossing:
        yield f"borders {set(listed) ^ checked.crossing} are missing or wrong"
    for border in borders:
        if not border.reason.strip():
            yield f"the border of '{tensors[border.tensor].name}' has no reason"
        if not 0 <= border.node < len(nodes):
            yield f"the border of '{tensors[border.tensor].name}' names no node"


def _limits(checked: Checked) -> Iterator[str]:
    """Limits that another engine could have kept; border rules may stand against it."""
    regions, mask = checked.plan.regions, checked.mask
    if len({region.engine for region in regions}) != len(regions) and any(
        one.engine == other.engine for one, other in pairwise(regions)
    ):
        yield "two regions of one engine follow each other"
    if any(engine.borders for engine in mask.engines) or not mask.complete:
        return
    if 0 < mask.limits.max_segments < len(regions):
        yield f"{len(regions)} regions, and not {mask.limits.max_segments}"
    for number, region in enumerate(regions):
        if len(region.nodes) < mask.limits.min_nodes and _takers(checked, number):
            yield f"region {number} has {len(region.nodes)} nodes, which a neighbour takes"


def _takers(checked: Checked, number: int) -> Sequence[int]:
    """The engines next to a region that take its nodes, and that did not give them up."""
    regions, plan = checked.plan.regions, checked.plan
    near = {regions[n].engine for n in (number - 1, number + 1) if 0 <= n < len(regions)}
    return [
        engine
        for engine in near
        if not any(
            node in checked.mask.engines[engine].refused or node in plan.reasons[engine]
            for node in regions[number].nodes
        )
    ]
