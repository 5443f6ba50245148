"""Recurrent layers and their states."""

from __future__ import annotations

import numpy as np
import onnx

from backends.ncnn.conversion.fixed_graph import FixedGraph, attribute, is_used
from backends.ncnn.conversion.rewrites.parts import Nodes, slice_of


def recurrent_states(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """Initial states of zeros are left out, and the last state is taken from the sequence.

    ncnn's layers keep one state for all rows; pnnx knows them with the sequence as an output.
    """
    zeros = [
        position
        for position, name in enumerate(node.input)
        if position in (5, 6) and name and _is_zero(name, graph)
    ]
    ends_alone = (
        len(node.output) > 1
        and is_used(node.output[1], graph)
        and not (node.output[0] and is_used(node.output[0], graph))
    )
    forward = attribute(node, "direction", b"forward") == b"forward"
    takes_last = ends_alone and forward and not attribute(node, "layout", 0)
    shape = graph.shape(node.input[0])
    if shape is None or not (zeros or takes_last):
        return None
    changed = onnx.NodeProto()
    changed.CopyFrom(node)
    for position in zeros:
        changed.input[position] = ""
    if not takes_last:
        return [changed]
    sequence, rows = graph.new_name("sequence"), graph.new_name("rows")
    changed.output[0], changed.output[1] = sequence, ""
    direction = graph.add_constant(np.array([1], np.int64))
    return [
        changed,
        graph.node(node, "Squeeze", [sequence, direction], rows),
        slice_of(node, graph, rows, {0: (shape[0] - 1, shape[0], 1)}, node.output[1]),
    ]


def _is_zero(name: str, graph: FixedGraph) -> bool:
    value = graph.constant(name)
    return value is not None and not value.any()
