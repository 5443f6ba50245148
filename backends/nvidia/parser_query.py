"""The child process that asks NVIDIA's parser about a file.

The parser names all nodes of operators that it does not know, or else the first node that it cannot
import. It does not look at what needs a refused node. It is therefore asked again, without the
nodes that it has refused, until it takes the rest.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import onnx
import tensorrt_rtx_bindings as rtx

from backends.nvidia.bindings import Bindings, bindings_of
from backends.nvidia.refusals import refused_nodes
from backends.onnx.graph_parts import (
    PartOfGraph,
    first_output,
    known_types,
    node_label,
    without_nodes,
)
from backends.onnx.model_file import OnnxFileError, read_without_weights
from backends.process.support_query import SupportQuery, answer_query
from backends.support import RefusedNode, Support

_SECONDS = 120.0  # after which nothing is asked again
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


def _support(query: SupportQuery) -> Support:
    path = Path(query.onnx)
    bindings = bindings_of(rtx, "TensorRT for RTX")
    name = f"the parser of TensorRT for RTX {bindings.version}"
    try:
        model = read_without_weights(path)
    except OnnxFileError as error:
        return Support(name, unknown=str(error))
    nodes = model.graph.node
    first = _ask(bindings, model, path)
    if first.taken:
        return Support(name, len(nodes))
    if not first.refused:
        reasons = "; ".join(other.reason for other in first.others) or bindings.messages.take()
        return Support(name, len(nodes), unknown=f"it gives no node: {reasons}")
    refused = {**first.refused, **dict(_refused_later(bindings, model, path, first))}
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


def _refused_later(
    bindings: Bindings, model: onnx.ModelProto, path: Path, first: _Answer
) -> Iterator[tuple[int, RefusedNode]]:
    """What it refuses when it is asked without the nodes that it has refused before."""
    end = time.monotonic() + _SECONDS
    types, refused = known_types(model), set(first.refused)
    while time.monotonic() < end:
        part = without_nodes(model, refused, types)
        answer = _ask(bindings, part.model, path) if part.numbers else _Answer(taken=True)
        if answer.taken or not answer.refused:
            return
        yield from _in_whole(part, answer)
        refused.update(number for number, _ in _in_whole(part, answer))


def _in_whole(part: PartOfGraph, answer: _Answer) -> Iterator[tuple[int, RefusedNode]]:
    """The refused nodes by their numbers in the whole graph, and with its labels."""
    for number, node in answer.refused.items():
        whole = part.numbers[number]
        label = node_label(part.model.graph.node[number], whole)
        yield whole, RefusedNode(label, node.operator, node.reason, node.output)


def _ask(bindings: Bindings, model: onnx.ModelProto, path: Path) -> _Answer:
    """Ask once; weights are those of the file at ``path``."""
    network = bindings.builder(bindings.logger).create_network(bindings.typed_network)
    parser = rtx.OnnxParser(network, bindings.logger)
    bindings.messages.take()
    if parser.supports_model_v2(model.SerializeToString(), str(path)):
        return _Answer(taken=True)
    graph = model.graph
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


def _parts(group: Iterable[int], refused: Mapping[int, RefusedNode]) -> Iterator[list[int]]:
    """What is left of a subgraph between nodes that were refused later."""
    for is_refused, numbers in groupby(group, key=refused.__contains__):
        if not is_refused:
            yield list(numbers)


if __name__ == "__main__":
    answer_query(_support)
