"""Powers of numbers that may be negative."""

from __future__ import annotations

import onnx

from backends.ncnn.conversion.fixed_graph import FixedGraph
from backends.ncnn.conversion.rewrites.parts import Nodes

_LARGEST = 8


def whole_power(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """A constant whole exponent from 3 up: a chain of products.

    ncnn computes ``exp(log(x) * y)``, which is no number for a negative ``x``; only squares are
    an operator of their own.
    """
    exponent = graph.constant(node.input[1])
    if exponent is None or exponent.size != 1 or not graph.is_float(node.output[0]):
        return None
    power = float(exponent.item())
    same = graph.shape(node.input[0]) == graph.shape(node.output[0]) is not None
    if not same or power not in range(3, _LARGEST + 1):
        return None
    base, nodes = node.input[0], []
    current = base
    for digit in bin(int(power))[3:]:
        square = graph.new_name("square")
        nodes.append(graph.node(node, "Mul", [current, current], square))
        current = square
        if digit == "1":
            current = graph.new_name("product")
            nodes.append(graph.node(node, "Mul", [square, base], current))
    nodes[-1].output[0] = node.output[0]
    return nodes
