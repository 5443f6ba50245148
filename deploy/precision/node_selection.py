"""Which nodes compute in half precision, and why the others stay in fp32."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx import defs

from deploy.graph.index import GraphIndex, is_weight
from deploy.graph.nodes import bodies, node_reads
from deploy.precision.definitions import (
    SIZES,
    CastRequest,
    HalfType,
    PrecisionError,
    is_float,
    node_label,
)

_EXACT = {
    "BitCast": "its bits",
    "DequantizeLinear": "its scale",
    "DynamicQuantizeLinear": "its scale",
    "MeanVarianceNormalization": "its definition has constants in fp32",
    "QuantizeLinear": "its scale",
}


_WIDE = {("Resize", "T2")}  # types of inputs that schemas would let be half: regions of interest


@dataclass(frozen=True)
class HalfOperands:
    """The numbers of a node's float32 inputs and outputs that are half when the node is."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def half_operands(node: ir.Node, half: HalfType, opset: int | None) -> HalfOperands | str:
    """What becomes half with this node, or why it cannot.

    Args:
        node: a node that calls no function of the model.
        half: the type.
        opset: the version of the node's domain; None where the model names none.
    """
    if node.op_type in _EXACT:
        return f"needs fp32 ({_EXACT[node.op_type]})"
    if any(_is_float_tensor(attribute) for attribute in node.attributes.values()):
        return "needs fp32 (an attribute of it is fp32)"
    if opset is None or not defs.has(node.op_type, opset, node.domain):
        return f"needs fp32 ({node.op_type} of '{node.domain}' has no schema here)"
    schema = defs.get_schema(node.op_type, opset, node.domain)
    free = {
        kind.type_param_str
        for kind in schema.type_constraints
        if half.in_schemas in kind.allowed_type_strs
        and (node.op_type, kind.type_param_str) not in _WIDE
    }
    taken = {
        n: kind for n, kind in _operand_kinds(node.inputs, schema.inputs).items() if kind in free
    }
    given = {
        n: kind for n, kind in _operand_kinds(node.outputs, schema.outputs).items() if kind in free
    }
    if not taken and not given:
        return f"needs fp32 ({node.op_type} has no {half.name} at opset {opset})"
    if node.op_type != "Cast" and not set(given.values()) <= set(taken.values()):
        return "needs fp32 (an output's type does not follow from its inputs)"
    return HalfOperands(tuple(taken), tuple(given))


def _is_float_tensor(attribute: ir.Attr) -> bool:
    return (
        attribute.type == ir.AttributeType.TENSOR
        and attribute.as_tensor().dtype == ir.DataType.FLOAT
    )


def _operand_kinds(
    values: Sequence[ir.Value | None], formals: Sequence[defs.OpSchema.FormalParameter]
) -> dict[int, str]:
    """The kind of every float32 value by its number; the last formal one stands for the rest."""
    return {
        number: formals[min(number, len(formals) - 1)].type_str
        for number, value in enumerate(values)
        if is_float(value)
    }


_REGIONS = {"MaxRoiPool": 1, "NonMaxSuppression": 0, "RoiAlign": 1}  # the input that has them


_LEARNED = frozenset(("Conv", "ConvTranspose", "Einsum", "Gemm", "GRU", "LSTM", "MatMul", "RNN"))


_ENDS = _LEARNED | _REGIONS.keys()


def pixel_coordinates(graph: ir.Graph) -> frozenset[ir.Value]:
    """The float32 values that are regions, and those around them that arithmetic leads to.

    That is backwards up to what is learned, such as offsets that a convolution gives, and forwards
    up to what looks at regions or learns from them; the level that each is on lies between.
    """
    found = _coordinate_sources(graph)
    for node in graph:
        if node.op_type not in _ENDS and not found.isdisjoint(node.inputs):
            found.update(filter(is_float, node.outputs))
    return frozenset(found)


def uses_coordinates(node: ir.Node, found: frozenset[ir.Value]) -> bool:
    """Whether the node makes or reads regions, other than to learn from them."""
    return node.op_type not in _LEARNED and not found.isdisjoint((*node.inputs, *node.outputs))


def _coordinate_sources(graph: ir.Graph) -> set[ir.Value]:
    """What regions are made of."""
    found: set[ir.Value] = set()
    pending = [node.inputs[_REGIONS[node.op_type]] for node in graph if node.op_type in _REGIONS]
    while pending:
        value = pending.pop()
        if value is None or value in found or not is_float(value):
            continue
        found.add(value)
        producer = value.producer()
        if producer is not None and producer.op_type not in _ENDS:
            pending.extend(v for v in producer.inputs if v is None or not is_weight(v))
    return found


_MOVERS = frozenset(
    (
        *("Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND"),
        *("Identity", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile"),
        *("Transpose", "Unsqueeze", "Where"),
    )
)


@dataclass(frozen=True)
class NodeSelection:
    """What becomes half of each node, and why other nodes with float32 values stay as they are."""

    half: dict[ir.Node, HalfOperands]
    kept: dict[ir.Node, str]

    def without(self, kept: dict[ir.Node, str]) -> NodeSelection:
        """The same, but these nodes stay in fp32 too."""
        half = {node: spots for node, spots in self.half.items() if node not in kept}
        return NodeSelection(half, {**self.kept, **kept})


def select_nodes(model: ir.Model, half: HalfType, asked: CastRequest) -> NodeSelection:
    """What can be half by the graph alone.

    Raises:
        PrecisionError: ``asked`` names an operator or a node that the model does not have.
    """
    _check_names(model, asked)
    still, pixels = _apart_from_data(model), pixel_coordinates(model.graph)
    choice = NodeSelection({}, {})
    for node in filter(_has_floats, _reading(model.graph)):
        found = _operands_of(model, node, half)
        if node.op_type in asked.keep_ops or node_label(node) in asked.keep_nodes:
            found = "asked"
        elif node in still and node.op_type not in _MOVERS:
            found = "follows from sizes and weights alone"
        elif isinstance(found, HalfOperands) and uses_coordinates(node, pixels):
            found = "needs fp32 (regions in pixels)"
        if isinstance(found, HalfOperands):
            choice.half[node] = found
        else:
            choice.kept[node] = found
    return choice


def without_moves(choice: NodeSelection, graph: ir.Graph, io: bool) -> NodeSelection:
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


def _is_wide(
    value: ir.Value | None, choice: NodeSelection, exact: Collection[ir.Node], io: bool
) -> bool:
    if value is None or is_weight(value):
        return True
    producer = value.producer()
    if producer is None:
        return not io
    return producer not in choice.half or producer in exact


def _read_in_fp32(choice: NodeSelection, graph: ir.Graph) -> Iterator[ir.Value | None]:
    for node in _reading(graph):
        spots = choice.half[node].inputs if node in choice.half else ()
        halved = {node.inputs[n] for n in spots}
        yield from (value for value in node_reads(node) if value not in halved)


def _reading(graph: ir.Graph) -> Iterator[ir.Node]:
    """The nodes that read values, and not sizes alone."""
    return (node for node in graph if node.op_type not in SIZES)


def _operands_of(model: ir.Model, node: ir.Node, half: HalfType) -> HalfOperands | str:
    if any(True for _ in bodies(node)):
        return "needs fp32 (what is computed in a body cannot be measured)"
    if node.op_identifier() in model.functions:
        return "needs fp32 (it calls a function)"
    if any(not _is_tensor(value) for value in (*node.inputs, *node.outputs)):
        return "needs fp32 (a value of it is no tensor of a known type)"
    return half_operands(node, half, model.opset_imports.get(node.domain))


def _has_floats(node: ir.Node) -> bool:
    values = [*node.outputs, *node_reads(node)]
    return any(is_float(value) or not _is_tensor(value) for value in values)


def _is_tensor(value: ir.Value | None) -> bool:
    return value is None or not value.name or isinstance(value.type, ir.TensorType)


def _apart_from_data(model: ir.Model) -> frozenset[ir.Node]:
    """Nodes that need nothing of the inputs but their sizes; many numbers there must be exact."""
    anatomy = GraphIndex(model, same_names_same_sizes=False)
    return anatomy.derived_from_sizes([node for node in model.graph if node.op_type in SIZES])


def _check_names(model: ir.Model, asked: CastRequest) -> None:
    nodes = list(_all(model.graph))
    _check_known("keep_ops", asked.keep_ops, {node.op_type for node in nodes}, "an operator")
    _check_known("keep_nodes", asked.keep_nodes, {node_label(node) for node in nodes}, "a node")


def _all(graph: ir.Graph) -> Iterator[ir.Node]:
    for node in graph:
        yield node
        for body in bodies(node):
            yield from _all(body)


def _check_known(key: str, names: Iterable[str], known: set[str], what: str) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or sorted(known)
            raise PrecisionError(
                f"{key} of the cast",
                expected=f"{what} of this segment, such as {', '.join(near[:10])}",
                got=f"'{name}'",
            )
