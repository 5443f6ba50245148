"""What some tensors need, back to where a segment starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from deploy.cutting.anatomy import Anatomy, Anchor, anchor, is_weight, unmoved
from deploy.cutting.cuts import Border


@dataclass(frozen=True)
class Need:
    """A value and the node, or the end, that needs it."""

    value: ir.Value
    by: ir.Node | Border


@dataclass(frozen=True)
class Piece:
    """What a segment is made of, in the graph's own order.

    Attributes:
        starts: the tensors that it takes.
        nodes: its nodes.
        weights: the stored tensors that they use.
        shared: those of its nodes that other pieces may hold too, as they give the same there.
        anchors: how its nodes learn dynamic sizes: from its own starts, where these have them.
    """

    starts: tuple[Border, ...]
    nodes: tuple[ir.Node, ...]
    weights: tuple[ir.Value, ...]
    shared: frozenset[ir.Node]
    anchors: tuple[Anchor, ...]


class Closure:
    """Everything that ``ends`` need, back to ``begin``, and no node besides.

    The cost is that of the nodes found, however large the graph around them is.

    Attributes:
        needs: each value once, with who needs it first.
        nodes: who makes them, in the graph's order.
    """

    def __init__(
        self, anatomy: Anatomy, begin: Mapping[ir.Value, Border], ends: Sequence[Border]
    ) -> None:
        self._anatomy = anatomy
        self._begin = begin
        self._ends = ends
        self._axes = anatomy.axes(begin)
        self._anchors: dict[ir.Node, Anchor] = {}
        self.needs = list(self._walk(ends))
        made = {need.value.producer() for need in self.needs if need.value not in begin}
        self.nodes = sorted(filter(None, made), key=anatomy.number.__getitem__)

    def piece(self, starts: Sequence[Border]) -> Piece:
        """The closure as a segment with these starts."""
        return Piece(
            tuple(starts),
            tuple(self.nodes),
            tuple(need.value for need in self.needs if is_weight(need.value)),
            self._shared(),
            tuple(filter(None, (self._anchors.get(node) or unmoved(node) for node in self.nodes))),
        )

    def dependent(self) -> set[ir.Node]:
        """The nodes that depend on ``begin``."""
        found: set[ir.Node] = set()
        for node in self.nodes:
            if any(v in self._begin or v.producer() in found for v in self._anatomy.reads[node]):
                found.add(node)
        return found

    def uses(self) -> Iterator[Need]:
        """Every value with each node and end that needs it, in the graph's order."""
        for node in self.nodes:
            yield from (Need(value, node) for value in self._reads(node))
        yield from (Need(end.value, end) for end in self._ends)

    def _walk(self, ends: Sequence[Border]) -> Iterator[Need]:
        seen: set[ir.Value] = set()
        pending = [Need(end.value, end) for end in reversed(ends)]
        while pending:
            need = pending.pop()
            if need.value in seen:
                continue
            seen.add(need.value)
            yield need
            producer = need.value.producer()
            if need.value not in self._begin and producer is not None:
                pending.extend(Need(value, producer) for value in self._reads(producer))

    def _reads(self, node: ir.Node) -> Sequence[ir.Value]:
        found = anchor(node, self._axes) if self._axes else None
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
