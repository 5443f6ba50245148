"""Reductions over constant axes, in forms that pnnx reads rightly."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx

from backends.ncnn.conversion.fixed_graph import FixedGraph, Shape, attribute
from backends.ncnn.conversion.rewrites.parts import Nodes, reshape


def single_axis_reduction(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """Reduce over one axis, given as an input, together with an axis of size 1.

    pnnx reads a list of one axis as a number, and loses it: the net computes something else.
    """
    axes, shape = _input_axes(node, graph), graph.shape(node.input[0])
    if axes is None or shape is None or len(axes) != 1:
        return None
    axis = axes[0]
    output = _kept_shape(node, shape, axes)
    if len(shape) > 1 and axis and shape[0] == 1:
        return _reduce_reshaped(node, graph, shape, (0, axis), output)
    before, after = prod(shape[:axis]), prod(shape[axis + 1 :])
    return _reduce_reshaped(node, graph, (1, before, shape[axis], after), (0, 2), output)


def extreme_over_axes(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """The largest or smallest number over neighbouring axes, as a pooling over all of them.

    pnnx knows neither axes as an input nor several axes there.
    """
    axes, shape = _all_axes(node, graph), graph.shape(node.input[0])
    if not axes or shape is None or not graph.is_float(node.input[0]):
        return None
    if axes != list(range(axes[0], axes[-1] + 1)) or (len(axes) == 1 and len(node.input) == 1):
        return None
    before, after = prod(shape[: axes[0]]), prod(shape[axes[-1] + 1 :])
    size = prod(shape[axes[0] : axes[-1] + 1])
    flat, pooled = graph.new_name("flat"), graph.new_name("pooled")
    flattened = reshape(node, graph, node.input[0], (1, before, size, after), flat)
    output = _kept_shape(node, shape, axes)
    if node.op_type == "ReduceMax":
        pool = graph.node(node, "MaxPool", [flat], pooled, kernel_shape=[size, 1])
        return [flattened, pool, reshape(node, graph, pooled, output, node.output[0])]
    negated, largest = graph.new_name("negated"), graph.new_name("largest")
    return [
        flattened,
        graph.node(node, "Neg", [flat], negated),
        graph.node(node, "MaxPool", [negated], pooled, kernel_shape=[size, 1]),
        graph.node(node, "Neg", [pooled], largest),
        reshape(node, graph, largest, output, node.output[0]),
    ]


def composed_reduction(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """Sums of squares, their roots and logarithms of sums over axes that are an input, in steps.

    A root with what follows is a normalisation for pnnx, of which it loses an axis.
    """
    if len(node.input) < 2 or not graph.is_float(node.input[0]):
        return None
    middle = graph.new_name("middle")
    keepdims = attribute(node, "keepdims", 1)
    if node.op_type == "ReduceSumSquare":
        square = graph.node(node, "Mul", [node.input[0], node.input[0]], middle)
        inputs = [middle, *node.input[1:]]
        return [square, graph.node(node, "ReduceSum", inputs, node.output[0], keepdims=keepdims)]
    if node.op_type == "ReduceL2":
        total = graph.node(node, "ReduceSumSquare", node.input, middle, keepdims=keepdims)
        return [total, graph.node(node, "Sqrt", [middle], node.output[0])]
    total = graph.node(node, "ReduceSum", node.input, middle, keepdims=keepdims)
    return [total, graph.node(node, "Log", [middle], node.output[0])]


def _input_axes(node: onnx.NodeProto, graph: FixedGraph) -> list[int] | None:
    """The axes of a reduction that gets them as an input, in order, counted from 0."""
    shape = graph.shape(node.input[0])
    axes = graph.constant(node.input[1]) if len(node.input) > 1 and node.input[1] else None
    if axes is None or shape is None or not axes.size:
        return None
    return sorted({int(axis) % len(shape) for axis in axes.reshape(-1)})


def _all_axes(node: onnx.NodeProto, graph: FixedGraph) -> list[int] | None:
    shape, axes = graph.shape(node.input[0]), attribute(node, "axes", None)
    if axes is None or shape is None:
        return _input_axes(node, graph)
    return sorted({axis % len(shape) for axis in axes})


def _kept_shape(node: onnx.NodeProto, shape: Shape, axes: Sequence[int]) -> Shape:
    """The shape of a reduction's output."""
    keeps = attribute(node, "keepdims", 1)
    sizes = [1 if axis in axes else size for axis, size in enumerate(shape)]
    return tuple(size for axis, size in enumerate(sizes) if keeps or axis not in axes)


def _reduce_reshaped(
    node: onnx.NodeProto, graph: FixedGraph, shape: Shape, axes: tuple[int, ...], output: Shape
) -> Nodes:
    """Reshape, reduce over constant axes, and reshape to the output; each only where needed."""
    current, nodes = node.input[0], []
    if shape != graph.shape(current):
        current = graph.new_name("flat")
        nodes.append(reshape(node, graph, node.input[0], shape, current))
    reduced = graph.new_name("reduced")
    inputs = [current, graph.add_constant(np.array(axes, np.int64))]
    nodes.append(graph.node(node, node.op_type, inputs, reduced, keepdims=1))
    nodes.append(reshape(node, graph, reduced, output, node.output[0]))
    return nodes
