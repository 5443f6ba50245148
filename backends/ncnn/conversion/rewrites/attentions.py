"""Attention, which pnnx fuses to a layer of its own where it recognises all of it."""

from __future__ import annotations

import onnx

from backends.ncnn.conversion.fixed_graph import FixedGraph
from backends.ncnn.conversion.rewrites.parts import Nodes

_RESHAPES = ("Reshape", "Transpose", "Identity")


def projection_of_cross_attention(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """A copy before the last product of attention to another number of places.

    Pnnx fuses the attention with its projections, and crashes where queries and keys come from
    tensors of different lengths. The larger of a tensor and itself is a copy that it keeps.
    """
    if not graph.is_constant(node.input[1]) or not graph.is_float(node.input[0]):
        return None
    product = _before_reshapes(node.input[0], graph)
    if product is None or product.op_type != "MatMul":
        return None
    softmax = graph.producer(product.input[0])
    scores = graph.shape(product.input[0])
    is_attention = softmax is not None and softmax.op_type == "Softmax"
    if not is_attention or scores is None or len(scores) < 2 or scores[-1] == scores[-2]:
        return None
    copy = graph.new_name("copy")
    return [
        graph.node(node, "Max", [node.input[0], node.input[0]], copy),
        graph.node(node, "MatMul", [copy, node.input[1]], node.output[0]),
    ]


def _before_reshapes(name: str, graph: FixedGraph) -> onnx.NodeProto | None:
    """The node whose numbers a tensor has, in whatever order and shape."""
    source = graph.producer(name)
    while source is not None and source.op_type in _RESHAPES:
        source = graph.producer(source.input[0])
    return source
