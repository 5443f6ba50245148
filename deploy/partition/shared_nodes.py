"""Whether a segment's file can be written from the nodes of the whole graph, without copies."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from deploy.graph.nodes import bodies
from deploy.partition.tensor_names import NamedSubgraph


def can_share_nodes(named: NamedSubgraph) -> bool:
    """Whether no tensor changes when a subgraph becomes a model of its own.

    So it is where a file is cut at its tensors by their names, and these are as ONNX asks for: none
    is empty or occurs twice. A subgraph that lacks a tensor is not for this: a copy is refused.
    """
    nodes = named.subgraph.nodes
    results = [value for node in nodes for value in node.outputs]
    values = [*(tensor.value for tensor in named.inputs), *named.subgraph.weights, *results]
    return (
        _keep_their_names(named)
        and _give_results(named, results)
        and are_unique([value.name for value in values])
        and not any(body for node in nodes if node.attributes for body in bodies(node))
        and {value for node in nodes for value in node.inputs} <= {*values, None}
    )


def _keep_their_names(named: NamedSubgraph) -> bool:
    return all(tensor.name == tensor.value.name for tensor in (*named.inputs, *named.outputs))


def _give_results(named: NamedSubgraph, results: list[ir.Value]) -> bool:
    """Whether each output is a node's own, and no output of the whole graph is left inside."""
    outputs = [tensor.value for tensor in named.outputs]
    inside = {value for value in results if value.is_graph_output()}
    return len(set(outputs)) == len(outputs) and inside <= set(outputs) <= set(results)


def are_unique(names: Sequence[str | None]) -> bool:
    """Whether no name is empty or occurs twice."""
    return all(names) and len(set(names)) == len(names)
