"""The child process that says which nodes of a segment ncnn takes."""

from __future__ import annotations

from importlib.metadata import version

import onnx

from backends.ncnn import net_shape
from backends.ncnn.checking.blob import MAX_RANK
from backends.ncnn.conversion.fixed_graph import FixedGraph
from backends.ncnn.conversion.node_trials import try_nodes
from backends.ncnn.conversion.rewrites import rewrite_graph
from backends.ncnn.conversion.unsupported import unsupported_nodes
from backends.ncnn.support import CONVERTER
from backends.process.support_query import SupportQuery, answer_query
from backends.support import Support

_KNOWN_WITH_NEIGHBOURS = ("GRU", "InstanceNormalization", "LSTM", "RNN")


def node_support(query: SupportQuery) -> Support:
    """Which nodes are taken: by their types and forms, then by a trial of each kind."""
    shapes = {spec.name: net_shape(spec) for spec in query.inputs}
    graph = FixedGraph(onnx.load(query.onnx), shapes, bool(query.options["fp16"]))
    rewrite_graph(graph)
    refused = unsupported_nodes(graph)
    nodes = list(graph.model.graph.node)
    numbers = [
        number
        for number, node in enumerate(nodes)
        if graph.origin(node) not in refused and _can_be_tried(node, graph)
    ]
    for number, reason in try_nodes(graph, numbers).refused.items():
        refused.setdefault(graph.origin(nodes[number]), reason)
    in_order = sorted(refused.items(), key=lambda item: item[0].number)
    return Support(
        f"{CONVERTER} {version('pnnx')}",
        len(graph.origins),
        tuple(origin.refused(reason) for origin, reason in in_order),
    )


def _can_be_tried(node: onnx.NodeProto, graph: FixedGraph) -> bool:
    """Whether a trial of a node alone says something of it.

    Of more than four axes one is the batch, which pnnx finds out from the nodes around it; and it
    knows some operators only together with these, such as a normalisation of groups.
    """
    if node.op_type in _KNOWN_WITH_NEIGHBOURS:
        return False
    shapes = [graph.shape(name) or () for name in (*node.input, *node.output) if name]
    varies = any(map(graph.is_varying, node.output))
    return varies and max(map(len, shapes)) <= MAX_RANK


if __name__ == "__main__":
    answer_query(node_support)
