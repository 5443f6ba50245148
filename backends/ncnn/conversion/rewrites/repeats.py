"""Repeated parts of a tensor, such as keys and values that several heads of attention share."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx

from backends.ncnn.conversion.fixed_graph import FixedGraph
from backends.ncnn.conversion.rewrites.parts import Nodes, reshape


def repeat_of_parts(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """An expansion of one axis between two reshapes: a tile of three axes.

    In between there may be five axes, which pnnx and ncnn do not have.
    """
    expand = graph.producer(node.input[0])
    if expand is None or expand.op_type != "Expand" or not graph.is_float(node.output[0]):
        return None
    before = graph.producer(expand.input[0])
    if before is None or before.op_type not in ("Reshape", "Unsqueeze"):
        return None
    shape, expanded, output = map(graph.shape, (expand.input[0], expand.output[0], node.output[0]))
    if shape is None or expanded is None or output is None or len(shape) != len(expanded):
        return None
    axes = [
        axis for axis, sizes in enumerate(zip(shape, expanded, strict=True)) if len({*sizes}) > 1
    ]
    if len(axes) != 1:
        return None
    axis = axes[0]
    sizes = (1, prod(shape[:axis]), prod(shape[axis + 1 :]))
    repeats = graph.add_constant(np.array([1, 1, expanded[axis]], np.int64))
    apart, tiled = graph.new_name("apart"), graph.new_name("tiled")
    return [
        reshape(node, graph, before.input[0], sizes, apart),
        graph.node(node, "Tile", [apart, repeats], tiled),
        reshape(node, graph, tiled, output, node.output[0]),
    ]
