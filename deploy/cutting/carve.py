"""The nodes of one segment, or the reason why there is no such segment."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx_ir as ir

from deploy.cutting.anatomy import Anatomy, anchor, is_weight
from deploy.cutting.closure import Closure, Need, Piece
from deploy.cutting.cuts import Border, Cut, PartitionError
from deploy.cutting.graph import describe


def whole(anatomy: Anatomy, inputs: Sequence[Border], outputs: Sequence[Border]) -> Piece:
    """Everything that the outputs need, with all inputs."""
    return Closure(anatomy, {border.value: border for border in inputs}, outputs).piece(inputs)


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
    closure = Closure(anatomy, begin, ends)
    _check_reached(anatomy, cut, ends, closure.dependent())
    _check_tight(anatomy, cut, begin, closure)
    used = {need.value for need in closure.needs}
    _check_used(cut, starts, used)
    piece = closure.piece([begin[value] for value in begin if value in used])
    _check_not_remade(cut, piece)
    return piece


def _check_apart(cut: Cut, begin: dict[ir.Value, Border], ends: Sequence[Border]) -> None:
    for end in ends:
        if end.value in begin:
            raise PartitionError(
                f"segment '{cut.name}' is empty there: its end {end.key} is its start "
                f"{begin[end.value].key}",
                do="Leave one of them out, or move it to where another tensor is.",
            )


def _check_reached(
    anatomy: Anatomy, cut: Cut, ends: Sequence[Border], reached: Collection[ir.Node]
) -> None:
    for end in ends:
        producer = end.value.producer()
        constant = anatomy.is_constant(end.value)
        noise = producer in anatomy.rootless and not constant
        if producer not in reached and not noise and not (constant and end.value.is_graph_output()):
            raise PartitionError(
                f"the end {end.key} of segment '{cut.name}' is reached from no start",
                expected=f"a tensor that depends on {', '.join(cut.start)}",
                got=origin(end.value),
            )


def _check_tight(
    anatomy: Anatomy, cut: Cut, begin: dict[ir.Value, Border], closure: Closure
) -> None:
    if not any(need.value.is_graph_input() and need.value not in begin for need in closure.needs):
        return  # the starts hold back every path from the graph's inputs
    raise PartitionError(
        f"a tensor slips past the start of segment '{cut.name}'",
        expected=f"only {', '.join(str(border.key) for border in begin.values())}",
        got=f"also {came_by(_slips(anatomy, begin, closure))}",
        do="Mark it too and add it to the start, or start earlier.",
    )


def _slips(anatomy: Anatomy, begin: dict[ir.Value, Border], closure: Closure) -> list[Need]:
    """The values that go past the starts, made before them and used behind them, in order."""
    axes = anatomy.axes(begin)
    sizes = anatomy.sizes([node for node in anatomy.nodes if axes and anchor(node, axes)])
    inside = anatomy.after(begin) | anatomy.rootless | sizes

    def is_outside(value: ir.Value) -> bool:
        return not is_weight(value) and value.producer() not in inside

    found: dict[ir.Value, Need] = {}
    for need in closure.uses():
        by_this = isinstance(need.by, Border) or need.by in inside
        if need.value not in begin and is_outside(need.value) and by_this:
            found.setdefault(need.value, need)
    return list(found.values())


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


def came_by(slips: Sequence[Need]) -> str:
    """Which tensors, the first with where it comes from and goes to."""
    first, *others = slips
    user = describe(first.by) if isinstance(first.by, ir.Node) else first.by.key
    more = [f"'{need.value.name}'" for need in others]
    text = f"'{first.value.name}' from {origin(first.value)}, used by {user}"
    return f"{text}; and {', '.join(more)}" if more else text


def origin(value: ir.Value) -> str:
    """Where a value comes from, for people."""
    producer = value.producer()
    if producer is not None:
        return describe(producer)
    return "a weight" if is_weight(value) else f"the graph's input '{value.name}'"
