"""What TensorRT's ONNX parser refuses before it builds a network.

It collects all of this: inputs of types or ranks that it lacks, and nodes whose operator it lacks.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto, defs, helper

from ._dims import Dims
from ._enums import DataType, ErrorCode
from ._faulty import Fault

TYPES: dict[int, DataType] = {
    TensorProto.FLOAT: DataType.FLOAT,
    TensorProto.DOUBLE: DataType.FLOAT,  # narrowed without a word
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
_NO_PLUGIN = 'creator && "Plugin not found, are the plugin name, version, and namespace correct?"'
_NO_TYPE = 'convertDtype(onnxType, &newType) && "Unsupported data type for the Cast operator!"'
_NO_NOISE = "Unsupported data type in random number generation"
_NO_CONSTANT = (
    "This version of TensorRT does not support the sparse_value, value_string and value_strings"
)
_NO_INDICES = "This version of TensorRT doesn't support mode than 1 outputs for MaxPool nodes!"
_NOISE_TYPES = (None, TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
_OTHER_CONSTANTS = frozenset({"sparse_value", "value_string", "value_strings"})


def faults_of_inputs(graph: onnx.GraphProto) -> Iterator[Fault]:
    """Inputs of types that TensorRT lacks, or of too high rank."""
    weights = {weight.name for weight in graph.initializer}
    for value in (value for value in graph.input if value.name not in weights):
        kind = value.type.tensor_type
        if kind.elem_type not in TYPES:
            text = "Failed to convert ONNX date type to TensorRT data type."
            yield _input_fault(ErrorCode.UNSUPPORTED_NODE, value, text)
        elif len(kind.shape.dim) > Dims.MAX_DIMS:
            text = "Failed to convert ONNX dimensions to TensorRT dimensions."
            yield _input_fault(ErrorCode.UNSUPPORTED_GRAPH, value, text)


def faults_of_weights(graph: onnx.GraphProto) -> Iterator[Fault]:
    """The first weight of a type that TensorRT lacks."""
    for weight in graph.initializer:
        if weight.data_type not in TYPES:
            text = f"Failed to import initializer: {weight.name}"
            yield Fault(ErrorCode.INVALID_GRAPH, text, function="importInitializers")
            return


def faults_of_ranks(graph: onnx.GraphProto) -> Iterator[Fault]:
    """Inputs and outputs of unknown rank, which this double does not take."""
    for value in (*graph.input, *graph.output):
        if not value.type.tensor_type.HasField("shape"):
            text = f"Network tensor {value.name} has no known rank"
            yield Fault(ErrorCode.UNSUPPORTED_GRAPH, text)


def faults_of_nodes(graph: onnx.GraphProto) -> Iterator[Fault]:
    """Nodes that TensorRT has no layer for; those in bodies are looked at when they are parsed."""
    for number, node in enumerate(graph.node):
        if (fault := fault_of_node(node, number)) is not None:
            yield fault


def fault_of_node(node: onnx.NodeProto, number: int) -> Fault | None:
    """Why TensorRT has no layer for a node, or None."""
    if node.domain not in _STANDARD or not defs.has(node.op_type):
        checker = "checkFallbackPluginImporter"
        return node_fault(ErrorCode.INVALID_NODE, _NO_PLUGIN, number, node, checker)
    if node.op_type in _UNSUPPORTED:
        checker = f"check{node.op_type}"
        return node_fault(ErrorCode.UNSUPPORTED_NODE, "false", number, node, checker)
    if node.op_type == "Cast" and _attribute(node, "to") not in TYPES:
        return node_fault(ErrorCode.INVALID_NODE, _NO_TYPE, number, node, "checkCast")
    if node.op_type == "Constant" and _OTHER_CONSTANTS & {a.name for a in node.attribute}:
        checker = "checkConstant"
        return node_fault(ErrorCode.UNSUPPORTED_NODE, _NO_CONSTANT, number, node, checker)
    if node.op_type == "MaxPool" and len(node.output) > 1:
        checker = "emptyOutputChecker"
        return node_fault(ErrorCode.UNSUPPORTED_NODE, _NO_INDICES, number, node, checker)
    if node.op_type.startswith("Random") and _attribute(node, "dtype") not in _NOISE_TYPES:
        return node_fault(ErrorCode.INVALID_VALUE, _NO_NOISE, number, node, "randomCheckHelper")
    return None


def node_fault(
    code: ErrorCode, text: str, number: int, node: onnx.NodeProto, function: str = "parseNode"
) -> Fault:
    """A fault of a node; one inside a body has the number of the node around it."""
    return Fault(code, text, number, node.name, node.op_type, function)


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs inside a node."""
    return (attribute.g for attribute in node.attribute if attribute.HasField("g"))


def _attribute(node: onnx.NodeProto, name: str) -> object:
    found = (a for a in node.attribute if a.name == name)
    return next((helper.get_attribute_value(a) for a in found), None)


def _input_fault(code: ErrorCode, value: onnx.ValueInfoProto, text: str) -> Fault:
    return Fault(code, text, function="importInput", file=value.name)
