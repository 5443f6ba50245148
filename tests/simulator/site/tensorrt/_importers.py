"""What TensorRT's ONNX parser refuses while it builds a network: the first such node ends it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from ._enums import ErrorCode
from ._faulty import Fault
from ._operators import bodies, fault_of_node, node_fault

_BROADCASTING = frozenset({"Add", "And", "Div", "Equal", "Gemm", "Greater", "Less", "Mul", "Or",
                           "PRelu", "Pow", "Sub", "Sum", "Xor"})  # fmt: skip
_FIRST_OPSET = 7
_OF_BYTES = frozenset({"Cast", "Constant", "Identity"})  # what uint8 may go in or out of
_AXES = "Axis input must resolve to a build-time constant"
_OLD = "Pre-opset 7 broadcasting is unsupported in this version of the ONNX parser"
_BYTES = "Found unsupported input type of UINT8"


@dataclass(frozen=True)
class _Scope:
    """What is known where a node stands.

    Attributes:
        opset: of ONNX's own operators.
        types: of the tensors.
        outputs: of the graph.
        constant: tensors that depend on no input and on no shape of one.
        known: all tensors that there are already.
        made: all tensors that nodes of the graph make, also later ones.
    """

    opset: int
    types: Mapping[str, int]
    outputs: frozenset[str]
    constant: set[str]
    known: set[str]
    made: frozenset[str]


def first_fault(model: onnx.ModelProto) -> Fault | None:
    """The first node that the parser does not take."""
    graph = model.graph
    opsets = (one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    types: dict[str, int] = {}
    _note_types(graph, types)
    weights = {weight.name for weight in graph.initializer}
    weights |= {sparse.values.name for sparse in graph.sparse_initializer}
    known = weights | {value.name for value in graph.input}
    outputs = frozenset(value.name for value in graph.output)
    scope = _Scope(next(opsets, _FIRST_OPSET), types, outputs, weights, known, _made(graph))
    faults = (_fault(node, number, scope) for number, node in enumerate(graph.node))
    return next((fault for fault in faults if fault is not None), None)


def _fault(node: onnx.NodeProto, number: int, scope: _Scope) -> Fault | None:
    fault = next(_faults(node, number, scope), None)
    scope.known.update(node.output)
    if node.op_type == "Constant" or (node.input and {*node.input} - {""} <= scope.constant):
        scope.constant.update(node.output)
    return fault


def _faults(node: onnx.NodeProto, number: int, scope: _Scope) -> Iterator[Fault]:
    if not {*node.input} - {""} <= scope.known:
        yield _order_fault(node, number, scope)
    if scope.opset < _FIRST_OPSET and node.op_type in _BROADCASTING:
        yield Fault(ErrorCode.UNSUPPORTED_NODE, _OLD, function="broadcastTensor")
    if node.op_type.startswith("Reduce") and not {*node.input[1:2]} - {""} <= scope.constant:
        yield node_fault(ErrorCode.UNSUPPORTED_NODE, _AXES, number, node, "getReduceAxisMask")
    if text := _bytes_fault(node, scope):
        yield node_fault(_code_of_bytes(node), text, number, node)
    for body in bodies(node):
        yield from _faults_of_body(body, number, scope)


def _order_fault(node: onnx.NodeProto, number: int, scope: _Scope) -> Fault:
    if {*node.input} - {""} <= scope.known | scope.made:
        text = "Failed to sort the model topologically."
        return Fault(ErrorCode.INVALID_GRAPH, text, function="importModel")
    text = "Node input was not registered."
    return node_fault(ErrorCode.INVALID_GRAPH, text, number, node)


def _bytes_fault(node: onnx.NodeProto, scope: _Scope) -> str:
    """TensorRT has uint8 for inputs and outputs, and casts of these."""
    tensors = [name for name in (*node.input, *node.output) if name]
    found = [name for name in tensors if scope.types.get(name) == TensorProto.UINT8]
    if not found:
        return ""
    inside = [name for name in node.output if name in found and name not in scope.outputs]
    if inside and node.op_type != "Constant":
        return "TensorRT does not support UINT8 types for intermediate tensors."
    return "" if node.op_type in _OF_BYTES else _BYTES


def _code_of_bytes(node: onnx.NodeProto) -> ErrorCode:
    checked = node.op_type in ("Cast", "DequantizeLinear", "QuantizeLinear", "Relu")
    return ErrorCode.UNSUPPORTED_NODE if checked else ErrorCode.INVALID_NODE


def _faults_of_body(body: onnx.GraphProto, number: int, outside: _Scope) -> Iterator[Fault]:
    """Of several nodes without a layer in a body the parser tells the last."""
    lacking = (fault_of_node(node, number) for node in body.node)
    if faults := [fault for fault in lacking if fault is not None]:
        yield faults[-1]
    weights = {weight.name for weight in body.initializer}
    known = outside.known | weights | {value.name for value in body.input}
    outputs = frozenset(value.name for value in body.output)
    constant = outside.constant | weights
    scope = _Scope(outside.opset, outside.types, outputs, constant, known, _made(body))
    inner = (_fault(node, number, scope) for node in body.node)
    yield from (fault for fault in inner if fault is not None)


def _made(graph: onnx.GraphProto) -> frozenset[str]:
    return frozenset(name for node in graph.node for name in node.output)


def _note_types(graph: onnx.GraphProto, found: dict[str, int]) -> None:
    for value in (*graph.input, *graph.value_info, *graph.output):
        found[value.name] = value.type.tensor_type.elem_type
    for weight in graph.initializer:
        found[weight.name] = weight.data_type
    for node in graph.node:
        for inner in bodies(node):
            _note_types(inner, found)
