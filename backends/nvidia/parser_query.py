"""The child process that asks NVIDIA's parser about a file.

The parser names all nodes of operators that it does not know, or else the first node that it cannot
import. It does not look at what needs a refused node. It is therefore asked again, without the
nodes that it has refused, until it takes the rest.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

import onnx
import tensorrt_rtx_bindings as rtx

from backends.nvidia.bindings import Bindings, bindings_of, sizes_of
from backends.nvidia.preflight import BUILT_BY_RTX
from backends.nvidia.refusals import refused_nodes
from backends.onnx.graph_parts import (
    PartOfGraph,
    Types,
    first_output,
    known_types,
    node_label,
    tensors_read,
    without_nodes,
)
from backends.onnx.model_file import OnnxFileError, read_without_weights
from backends.process.support_query import SupportQuery, answer_query
from backends.support import RefusedNode, Support

_SECONDS = 120.0  # after which nothing is asked again
_PARSED_ALONE = ("NonMaxSuppression",)  # of the parser, with no implementation in the builder
_NOT_BUILT = "the builder of TensorRT for RTX has no implementation of it"
_LEFT_OUT = "the parser leaves it out, without a reason"


@dataclass(frozen=True)
class _Answer:
    """What the parser says of a graph.

    Attributes:
        taken: whether it takes the whole graph.
        refused: of the graph's own nodes, by their numbers.
        others: refused inputs, and what it says of the graph as a whole.
        groups: the numbers of the nodes in each subgraph that it lists.
    """

    taken: bool
    refused: Mapping[int, RefusedNode] = field(default_factory=dict)
    others: tuple[RefusedNode, ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()


def support_of(query: SupportQuery) -> Support:
    """The nodes that the parser does not take."""
    path = Path(query.onnx)
    bindings = bindings_of(rtx, "TensorRT for RTX")
    name = f"the parser of TensorRT for RTX {bindings.version}"
    try:
        model = read_without_weights(path)
    except OnnxFileError as error:
        return Support(name, unknown=str(error))
    nodes = model.graph.node
    builds = bool(query.options.get(BUILT_BY_RTX))
    refused = dict(_without_implementation(model.graph)) if builds else {}
    types = known_types(model)
    first = _ask_about(bindings, without_nodes(model, refused, types), path)
    if first.taken and not refused:
        return Support(name, len(nodes))
    if not first.taken and not first.refused:
        reasons = "; ".join(other.reason for other in first.others) or bindings.messages.take()
        return Support(name, len(nodes), unknown=f"it gives no node: {reasons}")
    refused |= first.refused
    refused |= _refused_later(bindings, model, types, path, refused)
    labels = [node_label(node, number) for number, node in enumerate(nodes)]
    return Support(
        name,
        len(nodes),
        (*(refused[number] for number in sorted(refused)), *first.others),
        tuple(
            tuple(labels[number] for number in part)
            for group in first.groups
            for part in _parts(group, refused)
        ),
    )


def _without_implementation(graph: onnx.GraphProto) -> Iterator[tuple[int, RefusedNode]]:
    for number, node in enumerate(graph.node):
        if node.op_type in _PARSED_ALONE and not node.domain:
            label = node_label(node, number)
            yield number, RefusedNode(label, node.op_type, _NOT_BUILT, first_output(node))


def _refused_later(
    bindings: Bindings,
    model: onnx.ModelProto,
    types: Types,
    path: Path,
    before: Mapping[int, RefusedNode],
) -> dict[int, RefusedNode]:
    """What it refuses when it is asked without the nodes that are refused already."""
    end = time.monotonic() + _SECONDS
    refused: dict[int, RefusedNode] = {}
    while time.monotonic() < end:
        part = without_nodes(model, before.keys() | refused.keys(), types)
        answer = _ask_about(bindings, part, path)
        if answer.taken or not answer.refused:
            break
        refused |= answer.refused
    return refused


def _ask_about(bindings: Bindings, part: PartOfGraph, path: Path) -> _Answer:
    """Ask about a part; its nodes have their numbers in the whole graph."""
    if not part.numbers:
        return _Answer(taken=True)
    answer = _ask(bindings, part.model, path)
    whole = part.numbers
    return _Answer(
        answer.taken,
        {
            whole[number]: replace(
                node, node=node_label(part.model.graph.node[number], whole[number])
            )
            for number, node in answer.refused.items()
        },
        answer.others,
        tuple(tuple(whole[number] for number in group) for group in answer.groups),
    )


def _ask(bindings: Bindings, model: onnx.ModelProto, path: Path) -> _Answer:
    """Ask once; weights are those of the file at ``path``."""
    network = bindings.builder(bindings.logger).create_network(bindings.typed_network)
    parser = rtx.OnnxParser(network, bindings.logger)
    bindings.messages.take()
    graph = model.graph
    if parser.supports_model_v2(model.SerializeToString(), str(path)):
        misread, everything = dict(_misread(network, graph)), tuple(range(len(graph.node)))
        return _Answer(not misread, misread, groups=(everything,))
    groups = tuple(
        tuple(parser.get_subgraph_nodes(number)) for number in range(parser.num_subgraphs)
    )
    told = refused_nodes(parser, graph)
    by_output = {node.output: node for node in told if node.output}
    others = tuple(node for node in told if not node.output)
    listed = {number for group in groups for number in group}
    refused = {}
    for number, node in enumerate(graph.node):
        output = first_output(node)
        if output in by_output:
            refused[number] = by_output[output]
        elif number not in listed:
            reason = "; ".join(map(str, others)) or _LEFT_OUT
            label = node_label(node, number)
            refused[number] = RefusedNode(label, node.op_type, reason, output)
    return _Answer(False, refused, others, groups)


def _misread(
    network: rtx.INetworkDefinition, graph: onnx.GraphProto
) -> Iterator[tuple[int, RefusedNode]]:
    """Nodes that the converter refuses, by their numbers.

    They read an input whose values decide shapes, or give a tensor of another shape than the
    file's.
    """
    inputs = map(network.get_input, range(network.num_inputs))
    deciding = {tensor.name for tensor in inputs if tensor.is_shape_tensor}
    shapes = dict(_shapes_in(network))
    values = {value.name: value for value in (*graph.value_info, *graph.output)}
    for number, node in enumerate(graph.node):
        decided_by = deciding.intersection(tensors_read(node))
        reasons = [f"the values of input '{name}' decide shapes" for name in decided_by]
        reasons += [
            f"'{name}': expected its shape {_sizes(values[name])}, got {list(shapes[name])}"
            for name in node.output
            if name in shapes and name in values and not _same_shape(values[name], shapes[name])
        ]
        if reasons:
            label = node_label(node, number)
            yield number, RefusedNode(label, node.op_type, "; ".join(reasons), first_output(node))


def _shapes_in(network: rtx.INetworkDefinition) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The shapes of the network's tensors, most of which have their names in the file."""
    for number in range(network.num_layers):
        layer = network.get_layer(number)
        for output in range(layer.num_outputs):
            tensor = layer.get_output(output)
            if tensor is not None and len(tensor.shape) >= 0:  # a negative rank is unknown
                yield tensor.name, sizes_of(tensor.shape)


def _sizes(value: onnx.ValueInfoProto) -> list[int]:
    """The sizes of the file; -1 is open."""
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims]


def _same_shape(value: onnx.ValueInfoProto, shape: tuple[int, ...]) -> bool:
    if not value.type.tensor_type.HasField("shape"):
        return True
    sizes = _sizes(value)
    return len(sizes) == len(shape) and all(
        -1 in (size, other) or size == other for size, other in zip(sizes, shape, strict=True)
    )


def _parts(group: Iterable[int], refused: Mapping[int, RefusedNode]) -> Iterator[list[int]]:
    """What is left of a subgraph between nodes that were refused later."""
    for is_refused, numbers in groupby(group, key=refused.__contains__):
        if not is_refused:
            yield list(numbers)


if __name__ == "__main__":
    answer_query(support_of)
