"""Nodes that several rewrites put in the place of others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from backends.ncnn.conversion.fixed_graph import FixedGraph, Shape

Nodes = list[onnx.NodeProto]
Rewrite = Callable[[onnx.NodeProto, FixedGraph], Nodes | None]
"""The nodes to put in the place of one; None where the rewrite does not apply."""

Bounds = dict[int, tuple[int, int, int]]
"""Start, end and step of a slice by axis."""

MAX_PARTS = 64  # of a tensor that is taken apart and put together again


def reshape(
    node: onnx.NodeProto, graph: FixedGraph, source: str, shape: Shape, target: str
) -> onnx.NodeProto:
    """A reshape to fixed sizes."""
    sizes = graph.add_constant(np.array(shape, np.int64))
    return graph.node(node, "Reshape", [source, sizes], target)


def slice_of(
    node: onnx.NodeProto, graph: FixedGraph, source: str, bounds: Bounds, target: str
) -> onnx.NodeProto:
    """A slice with constant bounds."""
    columns = [list(column) for column in zip(*bounds.values(), strict=True)]
    starts, ends, steps = (graph.add_constant(np.array(item, np.int64)) for item in columns)
    axes = graph.add_constant(np.array(list(bounds), np.int64))
    return graph.node(node, "Slice", [source, starts, ends, axes, steps], target)


def slice_bounds(node: onnx.NodeProto, graph: FixedGraph) -> Bounds | None:
    """The constant bounds of a slice, within the tensor; None for others, and for old forms."""
    shape = graph.shape(node.input[0])
    names = [*node.input[1:], "", ""][:4] if len(node.input) > 2 else []
    values = [graph.constant(name) if name else None for name in names]
    if shape is None or len(values) < 2 or values[0] is None or values[1] is None:
        return None
    if any(name and value is None for name, value in zip(names, values, strict=True)):
        return None
    starts, ends = values[0].tolist(), values[1].tolist()
    axes = range(len(starts)) if values[2] is None else values[2].tolist()
    steps = [1] * len(starts) if values[3] is None else values[3].tolist()
    bounds = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = shape[axis]
        bounds[axis % len(shape)] = (*slice(start, end, step).indices(size)[:2], step)
    return bounds
