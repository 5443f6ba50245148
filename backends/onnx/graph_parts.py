"""Parts of an ONNX graph: what a node needs and gives, and the graph without some of its nodes."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx.external_data_helper import uses_external_data

Types = Mapping[str, onnx.TypeProto]


@dataclass(frozen=True)
class PartOfGraph:
    """A graph without some of its nodes.

    Attributes:
        model: what the nodes that are left out would compute is an input of it, where its type is
            known. Nodes that need a tensor of unknown type are not in it either.
        numbers: those of its nodes in the whole graph, in order.
    """

    model: onnx.ModelProto
    numbers: tuple[int, ...]


def first_output(node: onnx.NodeProto) -> str:
    """The first tensor that a node computes, which tells it from all others of the graph.

    Examples:
        >>> first_output(onnx.helper.make_node("Split", ["x"], ["", "right"]))
        'right'
    """
    return next(filter(None, node.output), "")


def node_label(node: onnx.NodeProto, number: int) -> str:
    """A node's name, or its number where it has none."""
    return node.name or f"number {number}"


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs in a node's attributes, such as the branches of If."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def tensors_read(node: onnx.NodeProto) -> list[str]:
    """The tensors that a node and its bodies need, each once."""
    read = dict.fromkeys(filter(None, node.input))
    for body in bodies(node):
        read |= dict.fromkeys(_captured(body))
    return list(read)


def _captured(body: onnx.GraphProto) -> list[str]:
    own = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
    own |= {sparse.values.name for sparse in body.sparse_initializer}
    own |= {name for node in body.node for name in node.output}
    needed = [name for node in body.node for name in tensors_read(node)]
    return [name for name in (*needed, *(value.name for value in body.output)) if name not in own]


def known_types(model: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    """The types of the tensors of the top graph, by the file or by ONNX's shape inference."""
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
        graph = model.graph  # its operators contradict each other
    values = (*graph.value_info, *graph.output, *graph.input)
    types = {value.name: value.type for value in values if value.type.WhichOneof("value")}
    for tensor in model.graph.initializer:
        value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        types[tensor.name] = value.type
    return types


def small_constants(graph: onnx.GraphProto, most_bytes: int) -> dict[str, onnx.TensorProto]:
    """Weights and results of Constant nodes below a size, by their names."""
    values = {tensor.name: tensor for tensor in graph.initializer if not uses_external_data(tensor)}
    for node in graph.node:
        for attribute in node.attribute:
            if (node.op_type, attribute.name) == ("Constant", "value"):
                value = onnx.TensorProto()
                value.CopyFrom(attribute.t)
                value.name = node.output[0]
                values[value.name] = value
    return {name: value for name, value in values.items() if value.ByteSize() < most_bytes}


def tensor_dtype(kind: onnx.TypeProto) -> str | None:
    """NumPy's name of a tensor's dtype; None where the type is another one or unknown."""
    number = kind.tensor_type.elem_type
    if not kind.HasField("tensor_type") or number == onnx.TensorProto.UNDEFINED:
        return None
    return str(onnx.helper.tensor_dtype_to_np_dtype(number).name)


def tensor_bytes(tensor: onnx.TensorProto) -> int:
    """The size of a weight's values."""
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return int(math.prod(tensor.dims)) * int(dtype.itemsize)


def without_nodes(model: onnx.ModelProto, left_out: Collection[int], types: Types) -> PartOfGraph:
    """A graph without the nodes of these numbers."""
    nodes = model.graph.node
    cut = {name for number in left_out for name in nodes[number].output if name}
    unknown = {name for name in cut if name not in types}
    kept = []
    for number, node in enumerate(nodes):
        if number in left_out:
            continue
        if unknown.isdisjoint(tensors_read(node)):
            kept.append(number)
        else:
            unknown.update(filter(None, node.output))
    return PartOfGraph(_with_nodes(model, kept, cut - unknown, types), tuple(kept))


def _with_nodes(
    model: onnx.ModelProto, kept: Sequence[int], cut: Collection[str], types: Types
) -> onnx.ModelProto:
    part = onnx.ModelProto()
    part.CopyFrom(model)
    graph = part.graph
    del graph.node[:], graph.output[:]
    graph.node.extend(model.graph.node[number] for number in kept)
    needed = {name for node in graph.node for name in tensors_read(node)}
    del graph.input[:]
    graph.input.extend(value for value in model.graph.input if value.name in needed)
    graph.input.extend(
        onnx.ValueInfoProto(name=name, type=types[name])
        for name in sorted(needed.intersection(cut))
    )
    made = [name for node in graph.node for name in node.output if name]
    known = {value.name for value in model.graph.output}.intersection(made)
    graph.output.extend(value for value in model.graph.output if value.name in known)
    graph.output.extend(
        onnx.ValueInfoProto(name=name, type=types.get(name))
        for name in made
        if name not in known and name not in needed
    )
    return part
