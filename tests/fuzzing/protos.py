"""Mutators of ONNX models: fields of the parsed message, whatever they are."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from backends.onnx.protobuf import delimited
from tests.fuzzing.draw import Draw
from tests.fuzzing.fields import messages, set_field
from tests.fuzzing.octets import mutated
from tests.fuzzing.paths import bad_path

_GRAPH = onnx.ModelProto.GRAPH_FIELD_NUMBER
_NODE = onnx.GraphProto.NODE_FIELD_NUMBER
_ATTRIBUTE = onnx.NodeProto.ATTRIBUTE_FIELD_NUMBER
_SUBGRAPH = onnx.AttributeProto.G_FIELD_NUMBER
_OPERATORS = sorted({schema.name for schema in onnx.defs.get_all_schemas()})
_ODD_OPERATORS = ("EPContext", "FusedMatMul", "QAttention", "ATen", "Inverse", "MemcpyToHost", "")


def mutated_model(draw: Draw, data: bytes, others: list[bytes]) -> bytes:
    """A serialized model after some changes of its fields, or of its bytes."""
    model = onnx.ModelProto()
    if draw.maybe(0.2) or not _parses(model, data):
        return mutated(draw, data, others)
    for _ in range(draw.few(4)):
        draw.one(MUTATORS)(draw, model)
    written = bytes(model.SerializeToString())
    if draw.maybe(0.01):
        written += _deep(draw)
    return mutated(draw, written, others, 1) if draw.maybe(0.05) else written


def _parses(model: onnx.ModelProto, data: bytes) -> bool:
    try:
        model.ParseFromString(data)
    except DecodeError:
        return False
    return True


def _any_field(draw: Draw, model: onnx.ModelProto) -> None:
    """Set a field that is there to something else."""
    message = draw.one(list(messages(model)))
    fields = [field for field, _ in message.ListFields()]
    if fields:
        set_field(draw, message, draw.one(fields))


def _new_field(draw: Draw, model: onnx.ModelProto) -> None:
    """Set a field that may not be there."""
    message = draw.one(list(messages(model)))
    set_field(draw, message, draw.one(message.DESCRIPTOR.fields))


def _swap_type(draw: Draw, model: onnx.ModelProto) -> None:
    """A message becomes a copy of another of its type."""
    message = draw.one(list(messages(model)))
    alike = [one for one in messages(model) if one.DESCRIPTOR is message.DESCRIPTOR]
    other = type(message)()
    other.CopyFrom(draw.one(alike))
    if message is not model:
        message.CopyFrom(other)


def _operator(draw: Draw, model: onnx.ModelProto) -> None:
    """A node becomes another operator, in its place."""
    nodes = [one for one in messages(model) if isinstance(one, onnx.NodeProto)]
    if nodes:
        node = draw.one(nodes)
        node.op_type = draw.one([*_OPERATORS, *_ODD_OPERATORS])
        node.domain = draw.one(["", "", "", "ai.onnx.ml", "com.microsoft", "ai.onnx.training"])
        if draw.maybe(0.5):
            del node.attribute[:]


def _wire(draw: Draw, model: onnx.ModelProto) -> None:
    """An input or an output of a node gets the name of another tensor."""
    nodes = [one for one in messages(model) if isinstance(one, onnx.NodeProto)]
    used = [name for node in nodes for name in (*node.input, *node.output)]
    names = [name for name in used if isinstance(name, str)]  # what is no UTF-8 comes as bytes
    if names:
        node = draw.one(nodes)
        side = draw.one([node.input, node.input, node.output])
        if side:
            side[draw.number(0, len(side) - 1)] = draw.one([*names, "", "nobody"])


def _elsewhere(draw: Draw, model: onnx.ModelProto) -> None:
    """A tensor keeps its data in another file."""
    tensors = [one for one in messages(model) if isinstance(one, onnx.TensorProto)]
    if tensors:
        tensor = draw.one(tensors)
        size = len(tensor.raw_data)
        tensor.data_location = TensorProto.EXTERNAL
        del tensor.external_data[:]
        if draw.maybe(0.9):
            tensor.ClearField("raw_data")
        location = bad_path(draw, "model.onnx.data").encode("utf-8", "replace").decode()
        entries = {"location": location, "offset": draw.one(["0", "8", "-1", "9" * 30, "x"])}
        entries["length"] = draw.one([str(size), str(size), str(1 << 62), "-1", ""])
        for key, text in entries.items():
            if draw.maybe(0.8):
                tensor.external_data.add(key=key, value=text)


def _nest(draw: Draw, model: onnx.ModelProto) -> None:
    """Graphs in graphs, nearly as deep as a parser goes."""
    inner = helper.make_node("Identity", ["x"], ["y"])
    for _ in range(draw.one([3, 20, 29])):
        full, empty = (helper.make_graph(nodes, "g", [], []) for nodes in ([inner], []))
        inner = helper.make_node("If", ["c"], ["y"], then_branch=full, else_branch=empty)
    model.graph.node.add().CopyFrom(inner)


def _deep(draw: Draw) -> bytes:
    """A field of a model with graphs in graphs, deeper than a parser goes."""
    contents = b""
    for _ in range(draw.one([40, 200, 1000])):
        attribute = delimited(_ATTRIBUTE, delimited(_SUBGRAPH, contents))
        contents = delimited(_NODE, attribute)
    return delimited(_GRAPH, contents)


MUTATORS: tuple[Callable[[Draw, onnx.ModelProto], None], ...] = (
    _any_field,
    _any_field,
    _any_field,
    _any_field,
    _new_field,
    _swap_type,
    _operator,
    _operator,
    _wire,
    _wire,
    _elsewhere,
    _nest,
)
