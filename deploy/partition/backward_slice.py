"""Backward slices: the nodes between the end tensors of a segment and its start tensors."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from deploy.graph.index import (
    GraphIndex,
    SizeSource,
    is_weight,
    original_size_source,
    size_source,
)
from deploy.graph.nodes import describe_node
from deploy.partition.cut_points import BoundaryTensor


@dataclass(frozen=True)
class ValueUse:
    """A value and the node, or the end tensor, that needs it."""

    value: ir.Value
    user: ir.Node | BoundaryTensor


@dataclass(frozen=True)
class Subgraph:
    """A segment before its tensors have names.

    Attributes:
        name: the segment's name.
        starts: the tensors that it takes.
        ends: the tensors that it gives.
        output_names: a name for each end; None where each has its default name.
        nodes: its nodes, in the graph's own order.
        weights: the stored tensors that they use.
        shared: those of its nodes that other subgraphs may hold too: they give the same there.
        size_sources: where its nodes read dynamic sizes: from its own starts, if these have them.
    """

    name: str
    starts: tuple[BoundaryTensor, ...]
    ends: tuple[BoundaryTensor, ...]
    output_names: tuple[str, ...] | None
    nodes: tuple[ir.Node, ...]
    weights: tuple[ir.Value, ...]
    shared: frozenset[ir.Node]
    size_sources: tuple[SizeSource, ...]


class BackwardSlice:
    """Everything that the end tensors need, back to the start tensors, and nothing else.

    The cost is that of the nodes in the slice, however large the graph around them is.

    Attributes:
        values: what is needed, each value once.
        nodes: the producers of these values, in the graph's order.
    """

    def __init__(
        self,
        index: GraphIndex,
        starts: Mapping[ir.Value, BoundaryTensor],
        ends: Sequence[BoundaryTensor],
    ) -> None:
        self._index = index
        self._starts = starts
        self._ends = ends
        self._axes = index.dim_axes(starts)
        self._size_sources: dict[ir.Node, SizeSource] = {}
        self.values = list(self._walk())
        producers = {value.producer() for value in self.values if value not in starts}
        self.nodes = sorted(filter(None, producers), key=index.position.__getitem__)

    def subgraph(
        self,
        name: str,
        starts: Sequence[BoundaryTensor],
        output_names: Sequence[str] | None = None,
    ) -> Subgraph:
        """The slice as a subgraph with these starts."""
        sources = (self._size_sources.get(n) or original_size_source(n) for n in self.nodes)
        return Subgraph(
            name=name,
            starts=tuple(starts),
            ends=tuple(self._ends),
            output_names=None if output_names is None else tuple(output_names),
            nodes=tuple(self.nodes),
            weights=tuple(filter(is_weight, self.values)),
            shared=self._shared(),
            size_sources=tuple(filter(None, sources)),
        )

    def used_starts(self) -> list[BoundaryTensor]:
        """The start tensors that the slice needs."""
        values = set(self.values)
        return [start for value, start in self._starts.items() if value in values]

    def dependents(self) -> frozenset[ir.Node]:
        """The nodes that depend on a start tensor."""
        return self._index.dependents(self._starts, self.nodes)

    def uses(self) -> Iterator[ValueUse]:
        """Every value with each node and end that needs it, in the graph's order."""
        for node in self.nodes:
            yield from (ValueUse(value, node) for value in self._reads(node))
        yield from (ValueUse(end.value, end) for end in self._ends)

    def _walk(self) -> Iterator[ir.Value]:
        seen: set[ir.Value] = set()
        pending = [end.value for end in reversed(self._ends)]
        while pending:
            value = pending.pop()
            if value in seen:
                continue
            seen.add(value)
            yield value
            producer = value.producer()
            if value not in self._starts and producer is not None:
                pending.extend(self._reads(producer))

    def _reads(self, node: ir.Node) -> Sequence[ir.Value]:
        source = size_source(node, self._axes) if self._axes else None
        if source is None:
            return self._index.reads[node]
        self._size_sources[node] = source
        return [source.value]

    def _shared(self) -> frozenset[ir.Node]:
        """Constants, and what follows from constants and from sizes of the starts."""
        shared = set(self._size_sources)
        constant, reads = self._index.constant, self._index.reads
        for node in self.nodes:
            if node in constant or (
                shared
                and node not in shared
                and self._index.is_deterministic(node)
                and all(is_weight(v) or v.producer() in shared for v in reads[node])
            ):
                shared.add(node)
        return frozenset(shared)


def bypassing_uses(
    index: GraphIndex, starts: Collection[ir.Value], backward_slice: BackwardSlice
) -> list[ValueUse]:
    """The first use of each tensor that is computed before the starts and used behind them."""
    axes = index.dim_axes(starts)
    readers = [node for node in index.nodes if axes and size_source(node, axes)]
    inside = (
        index.dependents(starts, index.nodes)
        | index.input_independent
        | index.derived_from_sizes(readers)
    )

    def is_outside(value: ir.Value) -> bool:
        return not is_weight(value) and value.producer() not in inside

    first_uses: dict[ir.Value, ValueUse] = {}
    for use in backward_slice.uses():
        used_inside = isinstance(use.user, BoundaryTensor) or use.user in inside
        if use.value not in starts and is_outside(use.value) and used_inside:
            first_uses.setdefault(use.value, use)
    return list(first_uses.values())


def varying_tensors(index: GraphIndex, tensors: Sequence[BoundaryTensor]) -> list[BoundaryTensor]:
    """The tensors without constants, and without what follows from sizes of the others alone.

    Every part of a graph that is cut at them can compute those itself.
    """
    varying = [tensor for tensor in tensors if not index.is_constant(tensor.value)]
    readers = [node for node in index.nodes if node.op_type == "Shape"]
    from_sizes = index.derived_from_sizes(readers)
    others = [tensor.value for tensor in varying if tensor.value.producer() not in from_sizes]
    axes = index.dim_axes(others)
    known = index.derived_from_sizes([node for node in readers if size_source(node, axes)])
    return [tensor for tensor in varying if tensor.value.producer() not in known]


def describe_uses(uses: Sequence[ValueUse]) -> str:
    """Which tensors are used, the first one with its producer and its user."""
    first, *others = uses
    user = describe_node(first.user) if isinstance(first.user, ir.Node) else first.user.point
    text = f"'{first.value.name}' from {describe_origin(first.value)}, used by {user}"
    names = [f"'{use.value.name}'" for use in others]
    return f"{text}; and {', '.join(names)}" if names else text


def describe_origin(value: ir.Value) -> str:
    """Where a value comes from, for messages."""
    producer = value.producer()
    if producer is not None:
        return describe_node(producer)
    return "a weight" if is_weight(value) else f"the graph's input '{value.name}'"
