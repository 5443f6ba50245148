"""The nodes of a file that ONNX Runtime has no kernel for, or does not accept for another reason.

A session names one missing kernel and ends, and calls a node of an inlined function by no name of
the file's. Each kind of node is therefore loaded alone, in a model of its own: once for all nodes
that have the same operator, attributes and types of inputs.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

import onnx

from backends.onnx.graph_parts import (
    bodies,
    first_output,
    known_types,
    node_label,
    small_constants,
    tensor_dtype,
    tensors_read,
)
from backends.onnxruntime import Options
from backends.onnxruntime.session import FAILURES, load_alone
from backends.support import RefusedNode

_SECONDS = 200.0  # after which the rest is left to a conversion
_NO_KERNEL = re.compile(r"Could not find an implementation for (\w+\(\d+\))")
_NO_WORDS = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (This is an invalid model\. )?")
_TENSOR = re.compile(r"tensor\((\w+)\)")
_MAX_REASON = 300  # characters
_VALUE_BYTES = 4096  # of a constant input that belongs to a node's kind, such as axes
Types = dict[str, onnx.TypeProto]


@dataclass(frozen=True)
class _Answer:
    """What the engine says of a node.

    Attributes:
        reason: why it does not take it; empty where it does.
        types: of its results, in order, where it takes it.
    """

    reason: str = ""
    types: tuple[onnx.TypeProto | None, ...] = ()


@dataclass(frozen=True)
class _Graph:
    """What nodes are loaded with.

    Attributes:
        model: without large weights.
        types: of tensors by their names, as far as they are known.
        constants: the small ones, by their names.
    """

    model: onnx.ModelProto
    types: Types
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)


def refused_nodes(model: onnx.ModelProto, options: Options) -> tuple[RefusedNode, ...]:
    """The nodes that the engine does not take on the options' device.

    Args:
        model: without its large weights.
        options: of the backend.
    """
    graph = _Graph(model, known_types(model), small_constants(model.graph, _VALUE_BYTES))
    answers: dict[object, _Answer] = {}
    refused = []
    end = time.monotonic() + _SECONDS
    for number, node in enumerate(model.graph.node):
        read = tensors_read(node)
        if time.monotonic() > end or any(name not in graph.types for name in read):
            continue
        kind = _kind(node, read, graph) or number
        if kind not in answers:
            answers[kind] = _ask(node, read, graph, options)
        answer = answers[kind]
        for name, known in zip(node.output, answer.types, strict=False):
            if known is not None:
                graph.types.setdefault(name, known)
        if answer.reason:
            label = node_label(node, number)
            refused.append(RefusedNode(label, node.op_type, answer.reason, first_output(node)))
    return tuple(refused)


def _kind(node: onnx.NodeProto, read: list[str], graph: _Graph) -> object:
    """What nodes of equal answers have in common; None for one with bodies."""
    if any(bodies(node)):
        return None
    attributes = sorted(attribute.SerializeToString() for attribute in node.attribute)
    positions = [read.index(name) if name else -1 for name in node.input]
    return (
        (node.domain, node.op_type, getattr(node, "overload", "")),
        tuple(attributes),
        tuple(positions),
        tuple(bool(name) for name in node.output),
        tuple(_type_kind(graph.types[name]) for name in read),
        tuple(_value(graph.constants.get(name)) for name in read),
    )


def _type_kind(kind: onnx.TypeProto) -> object:
    if not kind.HasField("tensor_type"):
        return kind.SerializeToString()
    tensor = kind.tensor_type
    return tensor.elem_type, len(tensor.shape.dim) if tensor.HasField("shape") else None


def _value(tensor: onnx.TensorProto | None) -> bytes:
    if tensor is None:
        return b""
    return bytes(onnx.numpy_helper.to_array(tensor).tobytes())


def _ask(node: onnx.NodeProto, read: list[str], graph: _Graph, options: Options) -> _Answer:
    alone = _alone(node, read, graph)
    try:
        session = load_alone(alone.SerializeToString(), options)
    except FAILURES as error:
        return _Answer(_reason(str(error), [graph.types[name] for name in read], options))
    given = {value.name: _type(value.type, value.shape) for value in session.get_outputs()}
    return _Answer(types=tuple(given.get(name) for name in node.output))


def _alone(node: onnx.NodeProto, read: list[str], graph: _Graph) -> onnx.ModelProto:
    """A model of one node."""
    constants = [graph.constants[name] for name in read if name in graph.constants]
    inputs = [
        onnx.ValueInfoProto(name=name, type=graph.types[name])
        for name in read
        if name not in graph.constants
    ]
    outputs = [
        onnx.ValueInfoProto(name=name, type=graph.types.get(name)) for name in node.output if name
    ]
    alone = onnx.ModelProto(
        ir_version=graph.model.ir_version,
        opset_import=graph.model.opset_import,
        functions=graph.model.functions,
        graph=onnx.GraphProto(
            name="alone", node=[node], input=inputs, output=outputs, initializer=constants
        ),
    )
    alone.graph.node[0].name = "node"
    return alone


def _reason(text: str, types: list[onnx.TypeProto], options: Options) -> str:
    missing = _NO_KERNEL.search(text)
    if missing is None:
        return _NO_WORDS.sub("", text)[:_MAX_REASON]
    dtypes = dict.fromkeys(filter(None, map(tensor_dtype, types)))
    device = "CPUs" if options.device == "cpu" else "NVIDIA GPUs"
    return f"ONNX Runtime has no kernel of {missing[1]} for {', '.join(dtypes)} on {device}"


def _type(text: str, shape: list[object]) -> onnx.TypeProto | None:
    """ONNX's type of a tensor from the engine's words for it; None for other types."""
    tensor = _TENSOR.fullmatch(text)
    if tensor is None:
        return None
    number = onnx.TensorProto.DataType.Value(tensor[1].upper())
    sizes = [size if isinstance(size, int) and size >= 0 else None for size in shape]
    return onnx.helper.make_tensor_type_proto(number, sizes)
