"""The nodes of one segment: from its ends backwards to its starts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from deploy.anatomy import Anatomy, Anchor, is_weight
from deploy.cuts import Border, Cut, PartitionError
from deploy.graph import describe


@dataclass(frozen=True)
class Piece:
    """What a segment is made of, in the graph's own order.

    Attributes:
        starts: the tensors that it takes.
        nodes: its nodes.
        weights: the stored tensors that they use.
        shared: those of its nodes that other pieces may hold too, as they give the same there.
        anchors: how its nodes learn dynamic sizes from its own starts.
    """

    starts: tuple[Border, ...]
    nodes: tuple[ir.Node, ...]
    weights: tuple[ir.Value, ...]
    shared: frozenset[ir.Node]
    anchors: tuple[Anchor, ...]


@dataclass(frozen=True)
class _Need:
    """A value and the node, or the end, that needs it."""

    value: ir.Value
    by: ir.Node | Border


def whole(anatomy: Anatomy, inputs: Sequence[Border], outputs: Sequence[Border]) -> Piece:
    """Everything that the outputs need, with all inputs."""
    bounds = _Bounds(anatomy, {border.value: border for border in inputs})
    return bounds.piece(inputs, list(bounds.walk(outputs)))


def carve(
    anatomy: Anatomy, cut: Cut, starts: dict[str, list[Border]], ends: Sequence[Border]
) -> Piece:
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
    bounds = _Bounds(anatomy, begin)
    _check_reached(cut, ends, bounds.after)
    needs = list(bounds.walk(ends))
    _check_tight(cut, begin, needs, bounds.inside)
    used = {need.value for need in needs}
    _check_used(cut, starts, used)
    piece = bounds.piece([begin[value] for value in begin if value in used], needs)
    _check_not_remade(cut, piece)
    return piece


class _Bounds:
    """How far a segment may reach back from its ends, given its starts."""

    def __init__(self, anatomy: Anatomy, begin: Mapping[ir.Value, Border]) -> None:
        self._anatomy = anatomy
        self._begin = begin
        self._anchors = anatomy.anchors(begin)
        self._sizes = anatomy.sizes(self._anchors)
        self.after = anatomy.after(begin)
        self.inside = self.after | anatomy.rootless | self._sizes

    def walk(self, ends: Sequence[Border]) -> Iterator[_Need]:
        """Every value that the ends need, back to the starts, weights and what is not inside."""
        seen: set[ir.Value] = set()
        pending = [_Need(end.value, end) for end in reversed(ends)]
        while pending:
            need = pending.pop()
            if need.value in seen:
                continue
            seen.add(need.value)
            yield need
            producer = need.value.producer()
            if need.value not in self._begin and producer is not None and producer in self.inside:
                pending.extend(_Need(value, producer) for value in self._reads(producer))

    def piece(self, starts: Sequence[Border], needs: Sequence[_Need]) -> Piece:
        """The segment's nodes."""
        made = {need.value.producer() for need in needs if need.value not in self._begin}
        nodes = tuple(node for node in self._anatomy.nodes if node in made)
        return Piece(
            tuple(starts),
            nodes,
            tuple(need.value for need in needs if is_weight(need.value)),
            self._anatomy.constant | self._sizes,
            tuple(self._anchors[node] for node in nodes if node in self._anchors),
        )

    def _reads(self, node: ir.Node) -> Sequence[ir.Value]:
        anchor = self._anchors.get(node)
        return [anchor.value] if anchor else self._anatomy.reads[node]


def _check_apart(cut: Cut, begin: dict[ir.Value, Border], ends: Sequence[Border]) -> None:
    for end in ends:
        if end.value in begin:
            raise PartitionError(
                f"segment '{cut.name}' is empty there: its end {end.key} is its start "
                f"{begin[end.value].key}",
                do="Leave one of them out, or move it to where another tensor is.",
            )


def _check_reached(cut: Cut, ends: Sequence[Border], reached: Collection[ir.Node]) -> None:
    for end in ends:
        if end.value.producer() not in reached:
            raise PartitionError(
                f"the end {end.key} of segment '{cut.name}' is reached from no start",
                expected=f"a tensor that depends on {', '.join(cut.start)}",
                got=_origin(end.value),
            )


def _check_tight(
    cut: Cut,
    begin: dict[ir.Value, Border],
    needs: Sequence[_Need],
    inside: Collection[ir.Node],
) -> None:
    slips = [
        need
        for need in needs
        if need.value not in begin
        and not is_weight(need.value)
        and need.value.producer() not in inside
    ]
    for need in slips:
        user = describe(need.by) if isinstance(need.by, ir.Node) else need.by.key
        raise PartitionError(
            f"a tensor slips past the start of segment '{cut.name}'",
            expected=f"only {', '.join(str(border.key) for border in begin.values())}",
            got=f"also '{need.value.name}' from {_origin(need.value)}, used by {user}",
            do="Mark it too and add it to the start, or start earlier.",
        )


def _check_used(cut: Cut, starts: dict[str, list[Border]], used: Collection[ir.Value]) -> None:
    for text, borders in starts.items():
        if not any(border.value in used for border in borders):
            raise PartitionError(
                f"the start {text} of segment '{cut.name}' reaches no end",
                expected=f"a tensor that {', '.join(cut.end)} depend on",
                do="Leave it out, or start elsewhere.",
            )


def _check_not_remade(cut: Cut, piece: Piece) -> None:
    nodes = set(piece.nodes)
    for border in piece.starts:
        producer = border.value.producer()
        if producer in nodes and producer is not None:
            raise PartitionError(
                f"the start {border.key} of segment '{cut.name}' is computed inside it",
                got=f"{describe(producer)}, which another tensor needs",
                do="Mark all results of that operation, and start from them.",
            )


def _origin(value: ir.Value) -> str:
    producer = value.producer()
    if producer is not None:
        return describe(producer)
    return "a weight" if is_weight(value) else f"the graph's input '{value.name}'"
