"""Choices between numbers: clips, and choices by a condition, which ncnn does not have."""

from __future__ import annotations

import numpy as np
import onnx

from backends.contract import Array
from backends.ncnn.conversion.fixed_graph import FixedGraph, attribute
from backends.ncnn.conversion.rewrites.parts import Nodes

_HIGHEST = np.finfo(np.float32).max


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
    softmax = _guarded_softmax(node, graph)
    if softmax is None or not _is_never_empty(softmax.input[0], graph):
        return None
    return [graph.node(node, "Identity", [node.input[2]], node.output[0])]


def guard_of_a_masked_softmax(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """The same guard where the mask may be empty in a row: that row becomes a product with 0.

    In front of the softmax -inf becomes the smallest number, and behind it a factor of 0; the
    factor of all other numbers is 1. Half precision lacks the numbers that tell the two apart.
    """
    softmax = _guarded_softmax(node, graph)
    if softmax is None or graph.half:
        return None
    scores, mask = _scores_and_mask(softmax.input[0], graph)
    (finite, factor), nodes = _finite_and_factor(node, graph, mask)
    total, result = graph.new_name("total"), graph.new_name("probabilities")
    if scores:
        nodes.append(graph.node(node, "Add", [scores, finite], total))
    probabilities = graph.node(
        node, "Softmax", [total if scores else finite], result, axis=attribute(softmax, "axis", -1)
    )
    return [*nodes, probabilities, graph.node(node, "Mul", [result, factor], node.output[0])]


def _finite_and_factor(
    node: onnx.NodeProto, graph: FixedGraph, mask: str
) -> tuple[tuple[str, str], Nodes]:
    """The mask without -inf, a factor that is 0 where it was and 1 elsewhere, and their nodes."""
    value = graph.constant(mask)
    if value is not None:
        factor = (value != -np.inf).astype(np.float32)
        return (graph.add_constant(np.maximum(value, -_HIGHEST)), graph.add_constant(factor)), []
    names = map(graph.new_name, ("halved", "bounded", "shifted", "factor", "finite"))
    halved, bounded, shifted, name, finite = names
    numbers = (-_HIGHEST, _HIGHEST, 0.5, 0.75 * _HIGHEST, 0, 1)
    constants = (graph.add_constant(np.array(number, np.float32)) for number in numbers)
    low, high, half, shift, none, one = constants
    nodes = [
        graph.node(node, "Mul", [mask, half], halved),
        graph.node(node, "Clip", [halved, low, high], bounded),  # -inf: twice any other number
        graph.node(node, "Add", [bounded, shift], shifted),
        graph.node(node, "Clip", [shifted, none, one], name),
        graph.node(node, "Clip", [mask, low, high], finite),
    ]
    return (finite, name), nodes


def _guarded_softmax(node: onnx.NodeProto, graph: FixedGraph) -> onnx.NodeProto | None:
    """The softmax over the last axis whose result a node takes where it is a number, or else 0."""
    condition = graph.producer(node.input[0])
    if condition is None or condition.op_type != "IsNaN" or condition.input[0] != node.input[2]:
        return None
    softmax = graph.producer(node.input[2])
    if softmax is None or softmax.op_type != "Softmax":
        return None
    shape, zero = graph.shape(softmax.input[0]), graph.constant(node.input[1])
    if shape is None or graph.shape(node.output[0]) != shape or zero is None or zero.any():
        return None
    return softmax if attribute(softmax, "axis", -1) in (-1, len(shape) - 1) else None


def _scores_and_mask(name: str, graph: FixedGraph) -> tuple[str, str]:
    """The finite and the masking part of a sum; nothing and the sum where these are not known."""
    node = graph.producer(name)
    if node is not None and node.op_type == "Add":
        for scores, mask in (node.input, node.input[::-1]):
            if _is_never_masked(scores, graph):
                return scores, mask
    return "", name


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
