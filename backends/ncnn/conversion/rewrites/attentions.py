"""Attention, which pnnx fuses to a layer of its own where it recognises all of it."""

from __future__ import annotations

import onnx

from backends.ncnn.conversion.fixed_graph import FixedGraph
from backends.ncnn.conversion.rewrites.parts import Nodes

_RESHAPES = ("Reshape", "Transpose", "Identity")
_SCALES = ("Mul", "Div", "Add", "Identity")
_PARTS = ("Gather", "Slice", "Split", "Squeeze", "Unsqueeze")


def projection_of_cross_attention(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """A copy before the last product of attention from one tensor to another.

    Pnnx fuses the attention with its projections, and crashes where queries and values come from
    different tensors. The larger of a tensor and itself is a copy that it keeps.
    """
    if not graph.is_constant(node.input[1]) or not graph.is_float(node.input[0]):
        return None
    product = _before_reshapes(node.input[0], graph)
    if product is None or product.op_type != "MatMul":
        return None
    softmax = graph.producer(product.input[0])
    if softmax is None or softmax.op_type != "Softmax":
        return None
    scores = _first_product(softmax.input[0], graph)
    if scores is None or _projected(scores.input[0], graph) == _projected(product.input[1], graph):
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


def _first_product(name: str, graph: FixedGraph) -> onnx.NodeProto | None:
    """The product that a tensor is scaled or masked from."""
    source = graph.producer(name)
    while source is not None and source.op_type in _SCALES:
        source = graph.producer(source.input[0])
    return source if source is not None and source.op_type == "MatMul" else None


def _projected(name: str, graph: FixedGraph) -> str:
    """The tensor that queries or values are a linear projection of."""
    node = graph.producer(name)
    while node is not None and node.op_type in (*_RESHAPES, *_SCALES, *_PARTS, "MatMul"):
        varying = [item for item in node.input if graph.is_varying(item)]
        if len(varying) != 1:
            break
        name = varying[0]
        if node.op_type == "MatMul":
            break
        node = graph.producer(name)
    return name
