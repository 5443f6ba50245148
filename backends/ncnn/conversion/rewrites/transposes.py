"""Transposes of more than four axes, such as the windows of Swin, in fewer."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import onnx

from backends.ncnn.conversion.fixed_graph import FixedGraph, attribute
from backends.ncnn.conversion.rewrites.parts import Nodes, reshape

_MOST_AXES = 4
_RESHAPES = ("Reshape", "Squeeze", "Unsqueeze")


def transpose_in_few_axes(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """Axes that stay beside each other as one, and none of size 1.

    Only where reshapes follow: attention whose queries, keys and values are slices of one tensor of
    five axes is known to pnnx as it is.
    """
    shape, output = graph.shape(node.input[0]), graph.shape(node.output[0])
    if shape is None or output is None or len(shape) <= _MOST_AXES:
        return None
    if not _is_reshaped(node.output[0], graph):
        return None
    perm = attribute(node, "perm", list(range(len(shape)))[::-1])
    groups = _groups([axis for axis in perm if shape[axis] != 1])
    if not 1 < len(groups) <= _MOST_AXES or not graph.is_float(node.input[0]):
        return None
    order = sorted(range(len(groups)), key=lambda place: groups[place][0])
    sizes = tuple(prod(shape[axis] for axis in groups[place]) for place in order)
    flat, turned = graph.new_name("flat"), graph.new_name("turned")
    return [
        reshape(node, graph, node.input[0], sizes, flat),
        graph.node(
            node, "Transpose", [flat], turned, perm=[order.index(p) for p in range(len(order))]
        ),
        reshape(node, graph, turned, output, node.output[0]),
    ]


def _is_reshaped(name: str, graph: FixedGraph) -> bool:
    """Whether nothing but reshapes reads a tensor."""
    readers = [node for node in graph.model.graph.node if name in node.input]
    return name not in graph.outputs and all(node.op_type in _RESHAPES for node in readers)


def _groups(perm: Sequence[int]) -> list[list[int]]:
    """The axes of the result in runs that lie beside each other before too, but for sizes of 1."""
    numbers = {axis: number for number, axis in enumerate(sorted(perm))}
    groups: list[list[int]] = []
    for axis in perm:
        if groups and numbers[axis] == numbers[groups[-1][-1]] + 1:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return groups


def reshape_of_a_reshape(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """One reshape for two with more than four axes in between."""
    before, output = graph.producer(node.input[0]), graph.shape(node.output[0])
    if before is None or before.op_type not in _RESHAPES or output is None:
        return None
    between = graph.shape(node.input[0])
    if between is None or len(between) <= _MOST_AXES or not graph.is_float(node.input[0]):
        return None
    return [reshape(node, graph, before.input[0], output, node.output[0])]
