"""Selection of the nodes that compute in half, with the reasons why others stay in fp32."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx import defs

from deploy.graph.index import GraphIndex, is_weight
from deploy.graph.nodes import bodies, node_reads
from deploy.precision.definitions import (
    SHAPE_OPS,
    CastRequest,
    HalfType,
    PrecisionError,
    is_float32,
    node_label,
)

_FP32_OPS = {  # operators that need fp32, and what in them does
    "BitCast": "its bits",
    "DequantizeLinear": "its scale",
    "DynamicQuantizeLinear": "its scale",
    "MeanVarianceNormalization": "its definition has constants in fp32",
    "QuantizeLinear": "its scale",
}


_FP32_TYPE_PARAMS = {("Resize", "T2")}  # regions of interest, which schemas allow in half


@dataclass(frozen=True)
class HalfOperands:
    """The indices of a node's float32 inputs and outputs that become half with the node."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def half_operands(node: ir.Node, half: HalfType, opset: int | None) -> HalfOperands | str:
    """The operands that become half with this node by its schema, or why it needs fp32.

    Args:
        node: a node that calls no function of the model.
        half: the type.
        opset: the opset version of the node's domain; None where the model imports none.
    """
    if node.op_type in _FP32_OPS:
        return f"needs fp32 ({_FP32_OPS[node.op_type]})"
    if any(_is_float_tensor(attribute) for attribute in node.attributes.values()):
        return "needs fp32 (an attribute of it is fp32)"
    if opset is None or not defs.has(node.op_type, opset, node.domain):
        return f"needs fp32 ({node.op_type} of '{node.domain}' has no schema here)"
    schema = defs.get_schema(node.op_type, opset, node.domain)
    half_params = {
        constraint.type_param_str
        for constraint in schema.type_constraints
        if half.schema_name in constraint.allowed_type_strs
        and (node.op_type, constraint.type_param_str) not in _FP32_TYPE_PARAMS
    }
    inputs = _operands_of_type(node.inputs, schema.inputs, half_params)
    outputs = _operands_of_type(node.outputs, schema.outputs, half_params)
    if not inputs and not outputs:
        return f"needs fp32 ({node.op_type} has no {half.name} at opset {opset})"
    if node.op_type != "Cast" and not set(outputs.values()) <= set(inputs.values()):
        return "needs fp32 (an output's type does not follow from its inputs)"
    return HalfOperands(tuple(inputs), tuple(outputs))


def _is_float_tensor(attribute: ir.Attr) -> bool:
    return (
        attribute.type == ir.AttributeType.TENSOR
        and attribute.as_tensor().dtype == ir.DataType.FLOAT
    )


def _operands_of_type(
    values: Sequence[ir.Value | None],
    formals: Sequence[defs.OpSchema.FormalParameter],
    type_params: Collection[str],
) -> dict[int, str]:
    """The type parameter of each float32 operand by its index, if it is one of ``type_params``.

    The last formal parameter stands for all further operands of a variadic operator.
    """
    types = {
        index: formals[min(index, len(formals) - 1)].type_str
        for index, value in enumerate(values)
        if is_float32(value)
    }
    return {index: name for index, name in types.items() if name in type_params}


_REGION_INPUTS = {"MaxRoiPool": 1, "NonMaxSuppression": 0, "RoiAlign": 1}  # index of that input


_PARAMETRIC_OPS = frozenset(
    ("Conv", "ConvTranspose", "Einsum", "Gemm", "GRU", "LSTM", "MatMul", "RNN")
)


_COORDINATE_LIMITS = _PARAMETRIC_OPS | _REGION_INPUTS.keys()


def pixel_coordinates(graph: ir.Graph) -> frozenset[ir.Value]:
    """The float32 values that hold coordinates in pixels.

    These are the regions that RoIAlign and NMS read, the values that they are computed from, back
    to operators with parameters such as a convolution, and the values that are computed from them,
    such as the pyramid level of a region, up to operators with parameters, RoIAlign or NMS.
    """
    coordinates = _coordinate_sources(graph)
    for node in graph:
        if node.op_type not in _COORDINATE_LIMITS and not coordinates.isdisjoint(node.inputs):
            coordinates.update(filter(is_float32, node.outputs))
    return frozenset(coordinates)


def _uses_coordinates(node: ir.Node, coordinates: frozenset[ir.Value]) -> bool:
    """Whether an operator without parameters reads or writes coordinates."""
    operands = (*node.inputs, *node.outputs)
    return node.op_type not in _PARAMETRIC_OPS and not coordinates.isdisjoint(operands)


def _coordinate_sources(graph: ir.Graph) -> set[ir.Value]:
    """The regions, and the values that they are computed from."""
    sources: set[ir.Value] = set()
    pending = [
        node.inputs[_REGION_INPUTS[node.op_type]]
        for node in graph
        if node.op_type in _REGION_INPUTS
    ]
    while pending:
        value = pending.pop()
        if value is None or value in sources or not is_float32(value):
            continue
        sources.add(value)
        producer = value.producer()
        if producer is not None and producer.op_type not in _COORDINATE_LIMITS:
            pending.extend(v for v in producer.inputs if v is None or not is_weight(v))
    return sources


_DATA_MOVEMENT_OPS = frozenset(
    (
        *("Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND"),
        *("Identity", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile"),
        *("Transpose", "Unsqueeze", "Where"),
    )
)


@dataclass(frozen=True)
class NodeSelection:
    """A partition of the nodes with float32 values.

    Attributes:
        half: the nodes that compute in half, with the operands that become half.
        kept: the nodes that stay in fp32, with the reasons.
    """

    half: dict[ir.Node, HalfOperands]
    kept: dict[ir.Node, str]

    def without(self, kept: dict[ir.Node, str]) -> NodeSelection:
        """The selection with these nodes in fp32 too."""
        half = {node: operands for node, operands in self.half.items() if node not in kept}
        return NodeSelection(half, {**self.kept, **kept})


def select_nodes(model: ir.Model, half: HalfType, request: CastRequest) -> NodeSelection:
    """Select by the graph alone, without value ranges.

    Raises:
        PrecisionError: the request names an operator or a node that the model does not have.
    """
    _check_names(model, request)
    independent, coordinates = _independent_of_data(model), pixel_coordinates(model.graph)
    selection = NodeSelection({}, {})
    for node in filter(_has_floats, _value_readers(model.graph)):
        operands = _operands_of(model, node, half)
        if node.op_type in request.keep_ops or node_label(node) in request.keep_nodes:
            operands = "asked"
        elif node in independent and node.op_type not in _DATA_MOVEMENT_OPS:
            operands = "follows from sizes and weights alone"
        elif isinstance(operands, HalfOperands) and _uses_coordinates(node, coordinates):
            operands = "needs fp32 (regions in pixels)"
        if isinstance(operands, HalfOperands):
            selection.half[node] = operands
        else:
            selection.kept[node] = operands
    return selection


def without_fp32_data_movement(
    selection: NodeSelection, graph: ir.Graph, io: bool
) -> NodeSelection:
    """The selection without nodes that only move fp32 values to readers that need fp32.

    Args:
        selection: the nodes that can compute in half.
        graph: the graph.
        io: whether the graph's inputs and outputs become half.
    """
    fp32_movers: set[ir.Node] = set()  # data movement whose inputs are all fp32
    for node, operands in selection.half.items():
        if node.op_type in _DATA_MOVEMENT_OPS and all(
            _is_produced_in_fp32(node.inputs[index], selection, fp32_movers, io)
            for index in operands.inputs
        ):
            fp32_movers.add(node)
    outputs = () if io else tuple(graph.outputs)
    needed: set[ir.Value | None] = {*outputs, *_read_in_fp32(selection, graph)}
    kept: dict[ir.Node, str] = {}
    for node in reversed(list(selection.half)):
        if node in fp32_movers and not needed.isdisjoint(node.outputs):
            kept[node] = "moves values that are fp32 before and behind it"
            needed.update(node.inputs)
    return selection.without(dict(reversed(kept.items())))


def _is_produced_in_fp32(
    value: ir.Value | None, selection: NodeSelection, fp32_movers: Collection[ir.Node], io: bool
) -> bool:
    if value is None or is_weight(value):
        return True
    producer = value.producer()
    if producer is None:
        return not io
    return producer not in selection.half or producer in fp32_movers


def _read_in_fp32(selection: NodeSelection, graph: ir.Graph) -> Iterator[ir.Value | None]:
    """The values that some node reads in fp32."""
    for node in _value_readers(graph):
        indices = selection.half[node].inputs if node in selection.half else ()
        in_half = {node.inputs[index] for index in indices}
        yield from (value for value in node_reads(node) if value not in in_half)


def _value_readers(graph: ir.Graph) -> Iterator[ir.Node]:
    """The nodes that read values, not shapes alone."""
    return (node for node in graph if node.op_type not in SHAPE_OPS)


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
    return any(is_float32(value) or not _is_tensor(value) for value in values)


def _is_tensor(value: ir.Value | None) -> bool:
    return value is None or not value.name or isinstance(value.type, ir.TensorType)


def _independent_of_data(model: ir.Model) -> frozenset[ir.Node]:
    """The nodes that depend on the shapes of inputs and on weights alone; they must be exact."""
    index = GraphIndex(model, same_names_same_sizes=False)
    return index.derived_from_sizes([node for node in model.graph if node.op_type in SHAPE_OPS])


def _check_names(model: ir.Model, request: CastRequest) -> None:
    nodes = list(_all_nodes(model.graph))
    _check_known("keep_ops", request.keep_ops, {node.op_type for node in nodes}, "an operator")
    _check_known("keep_nodes", request.keep_nodes, {node_label(node) for node in nodes}, "a node")


def _all_nodes(graph: ir.Graph) -> Iterator[ir.Node]:
    """The nodes of the graph and of its subgraphs."""
    for node in graph:
        yield node
        for body in bodies(node):
            yield from _all_nodes(body)


def _check_known(key: str, names: Iterable[str], known: set[str], what: str) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or sorted(known)
            raise PrecisionError(
                f"{key} of the cast",
                expected=f"{what} of this segment, such as {', '.join(near[:10])}",
                got=f"'{name}'",
            )
