"""Backward slices: the nodes between the end tensors of a segment and its start."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from deploy.graph.index import GraphIndex, SizeSource, is_weight, own_size_source, size_source
from deploy.graph.nodes import describe
from deploy.partition.cut_points import BoundaryTensor, Cut, PartitionError


@dataclass(frozen=True)
class ValueUse:
    """A value and the node, or the end, that needs it."""

    value: ir.Value
    by: ir.Node | BoundaryTensor


@dataclass(frozen=True)
class GraphSlice:
    """What a segment is made of, in the graph's own order.

    Attributes:
        starts: the tensors that it takes.
        nodes: its nodes.
        weights: the stored tensors that they use.
        shared: those of its nodes that other pieces may hold too, as they give the same there.
        anchors: how its nodes learn dynamic sizes: from its own starts, where these have them.
    """

    starts: tuple[BoundaryTensor, ...]
    nodes: tuple[ir.Node, ...]
    weights: tuple[ir.Value, ...]
    shared: frozenset[ir.Node]
    anchors: tuple[SizeSource, ...]


class BackwardSlice:
    """Everything that ``ends`` need, back to ``begin``, and no node besides.

    The cost is that of the nodes found, however large the graph around them is.

    Attributes:
        needs: each value once, with who needs it first.
        nodes: who makes them, in the graph's order.
    """

    def __init__(
        self,
        anatomy: GraphIndex,
        begin: Mapping[ir.Value, BoundaryTensor],
        ends: Sequence[BoundaryTensor],
    ) -> None:
        self._anatomy = anatomy
        self._begin = begin
        self._ends = ends
        self._axes = anatomy.axes(begin)
        self._anchors: dict[ir.Node, SizeSource] = {}
        self.needs = list(self._walk(ends))
        made = {need.value.producer() for need in self.needs if need.value not in begin}
        self.nodes = sorted(filter(None, made), key=anatomy.number.__getitem__)

    def piece(self, starts: Sequence[BoundaryTensor]) -> GraphSlice:
        """The closure as a segment with these starts."""
        return GraphSlice(
            tuple(starts),
            tuple(self.nodes),
            tuple(need.value for need in self.needs if is_weight(need.value)),
            self._shared(),
            tuple(
                filter(
                    None, (self._anchors.get(node) or own_size_source(node) for node in self.nodes)
                )
            ),
        )

    def dependent(self) -> set[ir.Node]:
        """The nodes that depend on ``begin``."""
        found: set[ir.Node] = set()
        for node in self.nodes:
            if any(v in self._begin or v.producer() in found for v in self._anatomy.reads[node]):
                found.add(node)
        return found

    def uses(self) -> Iterator[ValueUse]:
        """Every value with each node and end that needs it, in the graph's order."""
        for node in self.nodes:
            yield from (ValueUse(value, node) for value in self._reads(node))
        yield from (ValueUse(end.value, end) for end in self._ends)

    def _walk(self, ends: Sequence[BoundaryTensor]) -> Iterator[ValueUse]:
        seen: set[ir.Value] = set()
        pending = [ValueUse(end.value, end) for end in reversed(ends)]
        while pending:
            need = pending.pop()
            if need.value in seen:
                continue
            seen.add(need.value)
            yield need
            producer = need.value.producer()
            if need.value not in self._begin and producer is not None:
                pending.extend(ValueUse(value, producer) for value in self._reads(producer))

    def _reads(self, node: ir.Node) -> Sequence[ir.Value]:
        found = size_source(node, self._axes) if self._axes else None
        if found is None:
            return self._anatomy.reads[node]
        self._anchors[node] = found
        return [found.value]

    def _shared(self) -> frozenset[ir.Node]:
        """Constants, and what follows from constants and anchored sizes."""
        shared = set(self._anchors)
        constant, reads = self._anatomy.constant, self._anatomy.reads
        for node in self.nodes:
            if node in constant or (
                shared
                and node not in shared
                and self._anatomy.repeats(node)
                and all(is_weight(v) or v.producer() in shared for v in reads[node])
            ):
                shared.add(node)
        return frozenset(shared)


def whole_slice(
    anatomy: GraphIndex, inputs: Sequence[BoundaryTensor], outputs: Sequence[BoundaryTensor]
) -> GraphSlice:
    """Everything that the outputs need, with all inputs."""
    return BackwardSlice(anatomy, {border.value: border for border in inputs}, outputs).piece(
        inputs
    )


def slice_between(
    anatomy: GraphIndex,
    cut: Cut,
    starts: dict[str, list[BoundaryTensor]],
    ends: Sequence[BoundaryTensor],
) -> GraphSlice:
    """The piece between ``starts`` and ``ends``.

    Raises:
        PartitionError: no piece has just these borders.
    """
    begin = {
        border.value: border
        for borders in starts.values()
        for border in borders
        if not anatomy.is_constant(border.value)  # the segment gets its own copy of constants
    }
    _check_apart(cut, begin, ends)
    closure = BackwardSlice(anatomy, begin, ends)
    _check_reached(anatomy, cut, ends, closure.dependent())
    _check_tight(anatomy, cut, begin, closure)
    used = {need.value for need in closure.needs}
    _check_used(cut, starts, used)
    piece = closure.piece([begin[value] for value in begin if value in used])
    _check_not_remade(cut, piece)
    return piece


def _check_apart(
    cut: Cut, begin: dict[ir.Value, BoundaryTensor], ends: Sequence[BoundaryTensor]
) -> None:
    for end in ends:
        if end.value in begin:
            raise PartitionError(
                f"segment '{cut.name}' is empty there: its end {end.key} is its start "
                f"{begin[end.value].key}",
                do="Leave one of them out, or move it to where another tensor is.",
            )


def _check_reached(
    anatomy: GraphIndex, cut: Cut, ends: Sequence[BoundaryTensor], reached: Collection[ir.Node]
) -> None:
    for end in ends:
        producer = end.value.producer()
        constant = anatomy.is_constant(end.value)
        noise = producer in anatomy.rootless and not constant
        if producer not in reached and not noise and not (constant and end.value.is_graph_output()):
            raise PartitionError(
                f"the end {end.key} of segment '{cut.name}' is reached from no start",
                expected=f"a tensor that depends on {', '.join(cut.start)}",
                got=describe_origin(end.value),
            )


def _check_tight(
    anatomy: GraphIndex, cut: Cut, begin: dict[ir.Value, BoundaryTensor], closure: BackwardSlice
) -> None:
    if not any(need.value.is_graph_input() and need.value not in begin for need in closure.needs):
        return  # the starts hold back every path from the graph's inputs
    raise PartitionError(
        f"a tensor slips past the start of segment '{cut.name}'",
        expected=f"only {', '.join(str(border.key) for border in begin.values())}",
        got=f"also {describe_uses(_slips(anatomy, begin, closure))}",
        do="Mark it too and add it to the start, or start earlier.",
    )


def _slips(
    anatomy: GraphIndex, begin: dict[ir.Value, BoundaryTensor], closure: BackwardSlice
) -> list[ValueUse]:
    """The values that go past the starts, made before them and used behind them, in order."""
    axes = anatomy.axes(begin)
    sizes = anatomy.sizes([node for node in anatomy.nodes if axes and size_source(node, axes)])
    inside = anatomy.after(begin) | anatomy.rootless | sizes

    def is_outside(value: ir.Value) -> bool:
        return not is_weight(value) and value.producer() not in inside

    found: dict[ir.Value, ValueUse] = {}
    for need in closure.uses():
        by_this = isinstance(need.by, BoundaryTensor) or need.by in inside
        if need.value not in begin and is_outside(need.value) and by_this:
            found.setdefault(need.value, need)
    return list(found.values())


def _check_used(
    cut: Cut, starts: dict[str, list[BoundaryTensor]], used: Collection[ir.Value]
) -> None:
    for text, borders in starts.items():
        if not any(border.value in used for border in borders):
            raise PartitionError(
                f"the start {text} of segment '{cut.name}' reaches no end",
                expected=f"a tensor that {', '.join(cut.end)} depend on",
                do="Leave it out, or start elsewhere.",
            )


def _check_not_remade(cut: Cut, piece: GraphSlice) -> None:
    nodes = set(piece.nodes)
    for border in piece.starts:
        producer = border.value.producer()
        if producer in nodes and producer is not None:
            raise PartitionError(
                f"the start {border.key} of segment '{cut.name}' is computed inside it",
                got=f"{describe(producer)}, which another tensor needs",
                do="Mark all results of that operation, and start from them.",
            )


def describe_uses(slips: Sequence[ValueUse]) -> str:
    """Which tensors, the first with where it comes from and goes to."""
    first, *others = slips
    user = describe(first.by) if isinstance(first.by, ir.Node) else first.by.key
    more = [f"'{need.value.name}'" for need in others]
    text = f"'{first.value.name}' from {describe_origin(first.value)}, used by {user}"
    return f"{text}; and {', '.join(more)}" if more else text


def describe_origin(value: ir.Value) -> str:
    """Where a value comes from, for people."""
    producer = value.producer()
    if producer is not None:
        return describe(producer)
    return "a weight" if is_weight(value) else f"the graph's input '{value.name}'"
