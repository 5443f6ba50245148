"""Biases of zeros."""

from __future__ import annotations

import numpy as np
import onnx

from backends.ncnn.conversion.fixed_graph import STANDARD, FixedGraph
from backends.ncnn.conversion.rewrites.parts import Nodes


def add_zero_biases(graph: FixedGraph) -> bool:
    """Give each product with a constant matrix a bias, in place; whether one had none.

    pnnx crashes where it fuses an attention of several inputs whose projections have no bias.
    """
    with_bias = {
        name
        for node in graph.model.graph.node
        if node.op_type == "Add" and any(map(graph.is_constant, node.input))
        for name in node.input
    }
    nodes = list(graph.model.graph.node)
    changed = [new for node in nodes for new in _with_bias(node, graph, with_bias)]
    graph.replace_nodes(changed)
    return len(changed) > len(nodes)


def _with_bias(node: onnx.NodeProto, graph: FixedGraph, with_bias: set[str]) -> Nodes:
    size = _width(node, graph)
    if not size or node.output[0] in with_bias:
        return [node]
    product = onnx.NodeProto()
    product.CopyFrom(node)
    product.output[0] = graph.new_name("product")
    zeros = graph.add_constant(np.zeros(size, np.float32))
    return [product, graph.node(node, "Add", [product.output[0], zeros], node.output[0])]


def _width(node: onnx.NodeProto, graph: FixedGraph) -> int:
    """The columns of the constant matrix that a tensor is multiplied with; 0 without one."""
    if node.op_type != "MatMul" or node.domain not in STANDARD:
        return 0
    shape = graph.shape(node.input[1])
    is_matrix = shape is not None and len(shape) == 2 and graph.is_constant(node.input[1])
    return shape[1] if shape is not None and is_matrix and graph.is_float(node.output[0]) else 0
