"""What TensorRT's ONNX parser does not take."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto, defs

from ._dims import Dims
from ._enums import DataType, ErrorCode
from ._faulty import Fault

TYPES: dict[int, DataType] = {
    TensorProto.FLOAT: DataType.FLOAT,
    TensorProto.FLOAT16: DataType.HALF,
    TensorProto.BFLOAT16: DataType.BF16,
    TensorProto.INT8: DataType.INT8,
    TensorProto.INT32: DataType.INT32,
    TensorProto.INT64: DataType.INT64,
    TensorProto.BOOL: DataType.BOOL,
    TensorProto.UINT8: DataType.UINT8,
    TensorProto.FLOAT8E4M3FN: DataType.FP8,
    TensorProto.INT4: DataType.INT4,
}
_NAMES = """
Bernoulli BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CenterCropPad Col2Im Compress
ConcatFromSequence ConvInteger Det DynamicQuantizeLinear ImageDecoder MatMulInteger MaxRoiPool
MaxUnpool MelWeightMatrix Multinomial NegativeLogLikelihoodLoss Optional OptionalGetElement
OptionalHasElement QLinearConv QLinearMatMul RegexFullMatch SequenceAt SequenceConstruct
SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap SoftmaxCrossEntropyLoss
SplitToSequence StringConcat StringNormalizer StringSplit TfIdfVectorizer Unique
"""
_UNSUPPORTED = frozenset(_NAMES.split())
_STANDARD = ("", "ai.onnx")
_OF_BYTES = frozenset({"Cast", "Constant"})  # the operators that uint8 may go in or out of
_NO_PLUGIN = "Plugin not found, are the plugin name, version, and namespace correct?"

Node = tuple[int, onnx.NodeProto]


def faults_of_tensors(graph: onnx.GraphProto) -> Iterator[Fault]:
    """Inputs and outputs of types that TensorRT lacks, or of unknown or too high rank."""
    weights = {weight.name for weight in graph.initializer}
    for value in (*(value for value in graph.input if value.name not in weights), *graph.output):
        kind = value.type.tensor_type
        if kind.elem_type not in TYPES:
            yield _tensor_fault(value, f"is of the unsupported type {_type(kind.elem_type)}")
        if not kind.HasField("shape"):
            yield _tensor_fault(value, "has no known rank")
        elif len(kind.shape.dim) > Dims.MAX_DIMS:
            yield _tensor_fault(value, f"has more than {Dims.MAX_DIMS} dimensions")


def faults_of_nodes(graph: onnx.GraphProto) -> Iterator[Fault]:
    """Nodes that TensorRT has no layer for, or none for these types."""
    types: dict[str, int] = {}
    _note_types(graph, types)
    for number, node in _nodes(graph):
        if node.domain not in _STANDARD or not defs.has(node.op_type):
            yield _fault(ErrorCode.UNSUPPORTED_NODE, _NO_PLUGIN, number, node)
        elif node.op_type in _UNSUPPORTED:
            text = f"No importer registered for op: {node.op_type}"
            yield _fault(ErrorCode.UNSUPPORTED_NODE, text, number, node)
        elif text := _type_fault(node, types):
            yield _fault(ErrorCode.UNSUPPORTED_NODE_DATATYPE, text, number, node)


def _type_fault(node: onnx.NodeProto, types: dict[str, int]) -> str:
    kinds = {types[name] for name in (*node.input, *node.output) if types.get(name)}
    if wrong := sorted(kinds - TYPES.keys()):
        return f"Unsupported data type {', '.join(map(_type, wrong))}"
    if TensorProto.UINT8 in kinds and node.op_type not in _OF_BYTES:
        return "Unsupported data type UINT8: only a Cast takes or makes it"
    return ""


def _tensor_fault(value: onnx.ValueInfoProto, text: str) -> Fault:
    return Fault(ErrorCode.UNSUPPORTED_GRAPH, f"Network tensor {value.name} {text}")


def _fault(code: ErrorCode, text: str, number: int, node: onnx.NodeProto) -> Fault:
    return Fault(code, text, number, node.name, node.op_type)


def _type(kind: int) -> str:
    return str(TensorProto.DataType.Name(kind))


def _nodes(graph: onnx.GraphProto) -> Iterator[Node]:
    """Every node with its number; those inside a node have its number."""
    for number, node in enumerate(graph.node):
        yield number, node
        for inner in _bodies(node):
            yield from ((number, one) for _, one in _nodes(inner))


def _bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    return (attribute.g for attribute in node.attribute if attribute.HasField("g"))


def _note_types(graph: onnx.GraphProto, found: dict[str, int]) -> None:
    for value in (*graph.input, *graph.value_info, *graph.output):
        found[value.name] = value.type.tensor_type.elem_type
    for weight in graph.initializer:
        found[weight.name] = weight.data_type
    for node in graph.node:
        for inner in _bodies(node):
            _note_types(inner, found)
