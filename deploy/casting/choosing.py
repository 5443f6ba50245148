"""Which nodes compute in half, and why the others do not."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from deploy.casting.regions import computes_with, regions
from deploy.casting.schemas import Places, places
from deploy.casting.words import SIZES, Cast, Half, PrecisionError, is_float, label
from deploy.cutting.anatomy import Anatomy, is_weight
from deploy.cutting.graph import bodies, reads

_MOVERS = frozenset(
    (
        *("Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND"),
        *("Identity", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile"),
        *("Transpose", "Unsqueeze", "Where"),
    )
)


@dataclass(frozen=True)
class Choice:
    """What becomes half of each node, and why other nodes with float32 values stay as they are."""

    half: dict[ir.Node, Places]
    kept: dict[ir.Node, str]

    def without(self, kept: dict[ir.Node, str]) -> Choice:
        """The same, but these nodes stay in fp32 too."""
        half = {node: spots for node, spots in self.half.items() if node not in kept}
        return Choice(half, {**self.kept, **kept})


def possible(model: ir.Model, half: Half, asked: Cast) -> Choice:
    """What can be half by the graph alone.

    Raises:
        PrecisionError: ``asked`` names an operator or a node that the model does not have.
    """
    _check_names(model, asked)
    still, pixels = _apart_from_data(model), regions(model.graph)
    choice = Choice({}, {})
    for node in filter(_has_floats, _reading(model.graph)):
        found = _places(model, node, half)
        if node.op_type in asked.keep_ops or label(node) in asked.keep_nodes:
            found = "asked"
        elif node in still and node.op_type not in _MOVERS:
            found = "follows from sizes and weights alone"
        elif isinstance(found, Places) and computes_with(node, pixels):
            found = "needs fp32 (regions in pixels)"
        if isinstance(found, Places):
            choice.half[node] = found
        else:
            choice.kept[node] = found
    return choice


def unmoved(choice: Choice, graph: ir.Graph, io: bool) -> Choice:
    """The choice without nodes that only move values of fp32 to where fp32 is needed.

    Args:
        choice: what can be half.
        graph: the graph.
        io: whether its inputs and outputs are half.
    """
    exact: set[ir.Node] = set()  # whose inputs are all fp32, as it stands
    for node, spots in choice.half.items():
        if node.op_type in _MOVERS and all(
            _is_wide(node.inputs[n], choice, exact, io) for n in spots.inputs
        ):
            exact.add(node)
    ends = () if io else tuple(graph.outputs)
    needed: set[ir.Value | None] = {*ends, *_read_in_fp32(choice, graph)}
    kept: dict[ir.Node, str] = {}
    for node in reversed(list(choice.half)):
        if node in exact and not needed.isdisjoint(node.outputs):
            kept[node] = "moves values that are fp32 before and behind it"
            needed.update(node.inputs)
    return choice.without(dict(reversed(kept.items())))


def _is_wide(value: ir.Value | None, choice: Choice, exact: Collection[ir.Node], io: bool) -> bool:
    if value is None or is_weight(value):
        return True
    producer = value.producer()
    if producer is None:
        return not io
    return producer not in choice.half or producer in exact


def _read_in_fp32(choice: Choice, graph: ir.Graph) -> Iterator[ir.Value | None]:
    for node in _reading(graph):
        spots = choice.half[node].inputs if node in choice.half else ()
        halved = {node.inputs[n] for n in spots}
        yield from (value for value in reads(node) if value not in halved)


def _reading(graph: ir.Graph) -> Iterator[ir.Node]:
    """The nodes that read values, and not sizes alone."""
    return (node for node in graph if node.op_type not in SIZES)


def _places(model: ir.Model, node: ir.Node, half: Half) -> Places | str:
    if any(True for _ in bodies(node)):
        return "needs fp32 (what is computed in a body cannot be measured)"
    if node.op_identifier() in model.functions:
        return "needs fp32 (it calls a function)"
    if any(not _is_tensor(value) for value in (*node.inputs, *node.outputs)):
        return "needs fp32 (a value of it is no tensor of a known type)"
    return places(node, half, model.opset_imports.get(node.domain))


def _has_floats(node: ir.Node) -> bool:
    values = [*node.outputs, *reads(node)]
    return any(is_float(value) or not _is_tensor(value) for value in values)


def _is_tensor(value: ir.Value | None) -> bool:
    return value is None or not value.name or isinstance(value.type, ir.TensorType)


def _apart_from_data(model: ir.Model) -> frozenset[ir.Node]:
    """Nodes that need nothing of the inputs but their sizes; many numbers there must be exact."""
    anatomy = Anatomy(model, same_names_same_sizes=False)
    return anatomy.sizes([node for node in model.graph if node.op_type in SIZES])


def _check_names(model: ir.Model, asked: Cast) -> None:
    nodes = list(_all(model.graph))
    _check("keep_ops", asked.keep_ops, {node.op_type for node in nodes}, "an operator")
    _check("keep_nodes", asked.keep_nodes, {label(node) for node in nodes}, "a node")


def _all(graph: ir.Graph) -> Iterator[ir.Node]:
    for node in graph:
        yield node
        for body in bodies(node):
            yield from _all(body)


def _check(key: str, names: Iterable[str], known: set[str], what: str) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or sorted(known)
            raise PrecisionError(
                f"{key} of the cast",
                expected=f"{what} of this segment, such as {', '.join(near[:10])}",
                got=f"'{name}'",
            )
