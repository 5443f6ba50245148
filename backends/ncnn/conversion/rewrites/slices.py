"""Slices, gathers and blocks: parts of a tensor, taken and put together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

import onnx
from onnx import helper

from backends.ncnn.conversion.fixed_graph import FixedGraph, attribute
from backends.ncnn.conversion.rewrites.parts import (
    MAX_PARTS,
    Nodes,
    reshape,
    slice_bounds,
    slice_of,
)


def strided_slice(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """Every n-th row or column as a pooling with a window of 1; ncnn's slices have no steps."""
    bounds, shape = slice_bounds(node, graph), graph.shape(node.input[0])
    if bounds is None or shape is None or not graph.is_float(node.input[0]):
        return None
    strides = {axis: step for axis, (_, _, step) in bounds.items() if step > 1}
    if not strides or any(step < 1 for _, _, step in bounds.values()):
        return None
    dense = graph.new_name("dense")
    inner = {axis: (start, end, 1) for axis, (start, end, _) in bounds.items()}
    nodes = [slice_of(node, graph, node.input[0], inner, dense)]
    sizes = list(shape)
    for axis, (start, end, _) in bounds.items():
        sizes[axis] = end - start
    if len(shape) == 4 and not strides.keys() - {2, 3}:
        steps = [strides.get(2, 1), strides.get(3, 1)]
        pool = graph.node(node, "MaxPool", [dense], node.output[0], kernel_shape=[1, 1])
        pool.attribute.append(helper.make_attribute("strides", steps))
        return [*nodes, pool]
    for axis, step in strides.items():
        strided = graph.new_name("strided")
        nodes += _take_every(node, graph, dense, sizes, axis, step, strided)
        sizes[axis] = -(-sizes[axis] // step)
        dense = strided
    nodes[-1].output[0] = node.output[0]
    return nodes


def slice_without_axes(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """A slice that leaves its axes out gets them: pnnx knows it with all of them only."""
    if len(node.input) > 3 and node.input[3]:
        return None
    bounds = slice_bounds(node, graph)
    if bounds is None or any(step != 1 for _, _, step in bounds.values()):
        return None
    return [slice_of(node, graph, node.input[0], bounds, node.output[0])]


def space_to_depth(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """One strided slice for each place in a block; pnnx orders the channels in another way."""
    shape, size = graph.shape(node.input[0]), attribute(node, "blocksize", 1)
    if shape is None or len(shape) != 4 or size * size > MAX_PARTS:
        return None
    nodes, parts = [], []
    for row, column in product(range(size), repeat=2):
        parts.append(graph.new_name("part"))
        bounds = {2: (row, shape[2], size), 3: (column, shape[3], size)}
        nodes.append(slice_of(node, graph, node.input[0], bounds, parts[-1]))
    return [*nodes, graph.node(node, "Concat", parts, node.output[0], axis=1)]


def depth_to_space(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """Blocks that lie in front of the channels, which ncnn lacks, are put behind them."""
    shape, size = graph.shape(node.input[0]), attribute(node, "blocksize", 1)
    if attribute(node, "mode", b"DCR") != b"DCR" or shape is None or len(shape) != 4:
        return None
    rows, channels, height, width = shape
    blocks, depth = size * size, channels // (size * size)
    apart, turned, together = (graph.new_name("blocks") for _ in range(3))
    return [
        reshape(node, graph, node.input[0], (rows, blocks, depth, height * width), apart),
        graph.node(node, "Transpose", [apart], turned, perm=[0, 2, 1, 3]),
        reshape(node, graph, turned, shape, together),
        graph.node(node, "DepthToSpace", [together], node.output[0], blocksize=size, mode="CRD"),
    ]


def gather_of_indices(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """Several constant indices as slices of consecutive ones, put together."""
    indices, shape = graph.constant(node.input[1]), graph.shape(node.input[0])
    if indices is None or shape is None or indices.ndim != 1 or len(indices) < 2:
        return None
    axis = attribute(node, "axis", 0) % len(shape)
    runs = _runs([int(index) % shape[axis] for index in indices])
    if len(runs) > MAX_PARTS or not graph.is_float(node.input[0]):
        return None
    if len(runs) == 1:
        bounds = {axis: (*runs[0], 1)}
        return [slice_of(node, graph, node.input[0], bounds, node.output[0])]
    parts = [graph.new_name("part") for _ in runs]
    slices = [
        slice_of(node, graph, node.input[0], {axis: (*run, 1)}, part)
        for run, part in zip(runs, parts, strict=True)
    ]
    return [*slices, graph.node(node, "Concat", parts, node.output[0], axis=axis)]


def tile(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """Copies of a tensor, put together axis by axis."""
    repeats = graph.constant(node.input[1])
    if repeats is None or repeats.max(initial=1) > MAX_PARTS or not graph.is_float(node.input[0]):
        return None
    current, nodes = node.input[0], []
    for axis, count in enumerate(repeats):
        if count != 1:
            tiled = graph.new_name("tiled")
            nodes.append(graph.node(node, "Concat", [current] * int(count), tiled, axis=axis))
            current = tiled
    return [*nodes, graph.node(node, "Identity", [current], node.output[0])]


def _take_every(
    node: onnx.NodeProto,
    graph: FixedGraph,
    source: str,
    shape: Sequence[int],
    axis: int,
    step: int,
    target: str,
) -> Nodes:
    """Every n-th index of any axis, from the first on."""
    before, after = prod(shape[:axis]), prod(shape[axis + 1 :])
    flat, pooled = graph.new_name("flat"), graph.new_name("pooled")
    output = (*shape[:axis], -(-shape[axis] // step), *shape[axis + 1 :])
    pool = graph.node(node, "MaxPool", [flat], pooled, kernel_shape=[1, 1])
    pool.attribute.append(helper.make_attribute("strides", [step, 1]))
    return [
        reshape(node, graph, source, (1, before, shape[axis], after), flat),
        pool,
        reshape(node, graph, pooled, output, target),
    ]


def _runs(indices: Sequence[int]) -> list[tuple[int, int]]:
    """Starts and ends of consecutive indices."""
    runs: list[tuple[int, int]] = []
    for index in indices:
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs
