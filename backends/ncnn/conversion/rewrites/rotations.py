"""Rotary embeddings, which pnnx fuses to a layer of three axes, also where a tensor has four."""

from __future__ import annotations

import onnx

from backends.ncnn.conversion.fixed_graph import FixedGraph
from backends.ncnn.conversion.rewrites.parts import Nodes


def keep_rotations_apart(graph: FixedGraph) -> bool:
    """Put a copy into each rotary embedding, in place; whether there was one.

    The larger of a tensor and itself is a copy that pnnx keeps.
    """
    nodes = list(graph.model.graph.node)
    changed = [new for node in nodes for new in _apart(node, graph)]
    graph.replace_nodes(changed)
    return len(changed) > len(nodes)


def _apart(node: onnx.NodeProto, graph: FixedGraph) -> Nodes:
    if node.op_type != "Add" or not any(_is_turned(name, graph) for name in node.input):
        return [node]
    copy = graph.new_name("copy")
    first, second = node.input
    return [
        graph.node(node, "Max", [first, first], copy),
        graph.node(node, "Add", [copy, second], node.output[0]),
    ]


def _is_turned(name: str, graph: FixedGraph) -> bool:
    """Whether a tensor is a product with halves that changed places, one of them negated."""
    product = graph.producer(name)
    if product is None or product.op_type != "Mul":
        return False
    joined = [graph.producer(factor) for factor in product.input]
    parts = [part for item in joined if item and item.op_type == "Concat" for part in item.input]
    return any((before := graph.producer(part)) and before.op_type == "Neg" for part in parts)
