"""Choices between numbers: clips, and choices by a condition, which ncnn does not have."""

from __future__ import annotations

import numpy as np
import onnx

from backends.contract import Array
from backends.ncnn.conversion.fixed_graph import FixedGraph, attribute
from backends.ncnn.conversion.rewrites.parts import Nodes


def clip_to_computed_bounds(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """Bounds that are computed: the larger of two numbers, then the smaller."""
    bounds = [*node.input[1:], "", ""][:2]
    values = [graph.constant(name) if name else None for name in bounds]
    if not any(name and value is None for name, value in zip(bounds, values, strict=True)):
        return None
    current, nodes = node.input[0], []
    for operator, bound in zip(("Max", "Min"), bounds, strict=True):
        if bound:
            clipped = graph.new_name("clipped")
            nodes.append(graph.node(node, operator, [current, bound], clipped))
            current = clipped
    return [*nodes, graph.node(node, "Identity", [current], node.output[0])]


def select_by_constant(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """A choice by a constant condition, as a product with 0 and 1 and a sum; ncnn has no choice."""
    condition = graph.constant(node.input[0])
    if condition is None or not graph.is_float(node.output[0]):
        return None
    if condition.all() or not condition.any():
        chosen = node.input[1] if condition.all() else node.input[2]
        same = graph.shape(chosen) == graph.shape(node.output[0]) is not None
        return [graph.node(node, "Identity", [chosen], node.output[0])] if same else None
    mask = condition.astype(np.float32)
    first, second = (
        _masked(node, graph, *pair) for pair in ((node.input[1], mask), (node.input[2], 1 - mask))
    )
    total = graph.node(node, "Add", [first[0], second[0]], node.output[0])
    return [*first[1], *second[1], total]


def _masked(node: onnx.NodeProto, graph: FixedGraph, name: str, mask: Array) -> tuple[str, Nodes]:
    value = graph.constant(name)
    if value is not None:
        return graph.add_constant(np.where(mask, value, np.float32(0)).astype(np.float32)), []
    product_name = graph.new_name("chosen")
    return product_name, [graph.node(node, "Mul", [name, graph.add_constant(mask)], product_name)]


def guard_of_a_softmax(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """A choice of what is a number, where all are: a softmax whose mask is empty in no row.

    Exporters write ``where(isnan(p), 0, p)`` behind the softmax of scaled dot-product attention.
    """
    condition = graph.producer(node.input[0])
    if condition is None or condition.op_type != "IsNaN" or condition.input[0] != node.input[2]:
        return None
    softmax = graph.producer(node.input[2])
    if softmax is None or softmax.op_type != "Softmax":
        return None
    shape = graph.shape(softmax.input[0])
    axis = attribute(softmax, "axis", -1)
    last = shape is not None and axis in (-1, len(shape) - 1)
    if not last or not _is_never_empty(softmax.input[0], graph):
        return None
    return [graph.node(node, "Identity", [node.input[2]], node.output[0])]


def _is_never_empty(name: str, graph: FixedGraph) -> bool:
    """Whether each row of a tensor has a finite number, if all inputs and weights are finite."""
    node = graph.producer(name)
    if node is None:
        return False  # an input, that may hold a mask of its own
    if node.op_type in ("MatMul", "Gemm", "Conv", "Einsum"):
        return True
    if node.op_type in ("Mul", "Div"):
        constant = [value for value in map(graph.constant, node.input) if value is not None]
        finite = all(np.isfinite(value).all() and value.all() for value in constant)
        others = [name for name in node.input if graph.constant(name) is None]
        return finite and all(_is_never_empty(name, graph) for name in others)
    if node.op_type == "Add":
        masks = [value for value in map(graph.constant, node.input) if value is not None]
        others = [name for name in node.input if graph.constant(name) is None]
        return (
            len(others) == 1
            and all(map(_leaves_a_number, masks))
            and _is_never_masked(others[0], graph)
        )
    return False


def _leaves_a_number(mask: Array) -> bool:
    if np.isnan(mask).any() or np.isposinf(mask).any():
        return False
    per_row = mask.ndim and mask.shape[-1] > 1
    return bool(np.isfinite(mask).any(axis=-1).all() if per_row else np.isfinite(mask).all())


def _is_never_masked(name: str, graph: FixedGraph) -> bool:
    """As ``_is_never_empty``, and without another mask: two masks could be empty together."""
    node = graph.producer(name)
    return node is not None and node.op_type != "Add" and _is_never_empty(name, graph)
