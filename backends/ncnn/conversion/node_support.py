"""The child process that says which nodes of a segment ncnn takes."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import onnx

from backends.codec import from_json, to_json
from backends.ncnn.checking.blob import MAX_RANK
from backends.ncnn.conversion.fixed_graph import FixedGraph
from backends.ncnn.conversion.node_trials import try_nodes
from backends.ncnn.conversion.rewrites import rewrite_graph
from backends.ncnn.conversion.unsupported import unsupported_nodes
from backends.ncnn.support import CONVERTER, Request
from backends.process.child import end_with_parent
from backends.process.large_stack import call_with_large_stack
from backends.support import Support
from backends.terminal import program_output


@program_output()
def main() -> None:
    """Answer: ``REQUEST.json ANSWER.json``."""
    end_with_parent()
    question, answer = map(Path, sys.argv[1:])
    request = from_json(Request, json.loads(question.read_text()), question.name)
    answer.write_text(json.dumps(to_json(call_with_large_stack(lambda: node_support(request)))))


def node_support(request: Request) -> Support:
    """Which nodes are taken: by their types and forms, then by a trial of each kind."""
    graph = FixedGraph(onnx.load(request.onnx), request.input_shapes, request.half)
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

    Of more than four axes one is the batch, which pnnx finds out from the nodes around it.
    """
    shapes = [graph.shape(name) or () for name in (*node.input, *node.output) if name]
    varies = any(map(graph.is_varying, node.output))
    return varies and max(map(len, shapes)) <= MAX_RANK


if __name__ == "__main__":
    main()
