"""Conditions of ``If`` with several axes, which ONNX allows and some engines do not -> scalars."""

from __future__ import annotations

import onnx
from onnx import helper

_MOST_AXES = 1  # that every engine takes


def has_conditions_with_axes(model: onnx.ModelProto) -> bool:
    """Whether the condition of an ``If`` of the graph itself may have several axes."""
    ranks = _ranks(model.graph)
    return any(
        node.op_type == "If" and ranks.get(node.input[0], _MOST_AXES) > _MOST_AXES
        for node in model.graph.node
    )


def make_conditions_scalar(model: onnx.ModelProto) -> None:
    """Make each such condition, which has one element by ONNX's rules, a scalar."""
    graph = model.graph
    ranks = _ranks(graph)
    names = {name for node in graph.node for name in (*node.input, *node.output)}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "If" and ranks.get(node.input[0], _MOST_AXES) > _MOST_AXES:
            scalar = _free_name(f"{node.input[0]}_scalar", names)
            nodes.append(helper.make_node("Squeeze", [node.input[0]], [scalar]))
            node.input[0] = scalar
        nodes.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def _ranks(graph: onnx.GraphProto) -> dict[str, int]:
    return {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }


def _free_name(name: str, names: set[str]) -> str:
    while name in names:
        name += "_"
    names.add(name)
    return name
