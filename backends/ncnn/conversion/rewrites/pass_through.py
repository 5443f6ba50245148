"""Nodes that pass a tensor on, on which pnnx crashes or loses an output of the net."""

from __future__ import annotations

import onnx

from backends.ncnn.conversion.fixed_graph import FixedGraph, attribute, is_used
from backends.ncnn.conversion.rewrites.parts import Nodes, slice_bounds

_RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def unchanged(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """A node that passes its input on, which makes pnnx crash, or lose an output of the net."""
    if not graph.is_float(node.input[0]):
        return None
    if node.op_type in _RESHAPES and (source := _same_before(node, graph)):
        return [graph.node(node, "Identity", [source], node.output[0])]
    if node.op_type in ("Add", "Mul") and _changes_nothing(node, graph, (1, 0)):
        return [graph.node(node, "Identity", [node.input[1]], node.output[0])]
    if not _passes_on(node, graph):
        return None
    return [graph.node(node, "Identity", [node.input[0]], node.output[0])]


def _same_before(node: onnx.NodeProto, graph: FixedGraph) -> str:
    """The tensor that a chain of reshapes starts from, where it ends with the same shape."""
    shape = graph.shape(node.output[0])
    current: onnx.NodeProto | None = node
    while current is not None and current.op_type in _RESHAPES:
        if shape is not None and graph.shape(current.input[0]) == shape:
            return str(current.input[0])
        current = graph.producer(current.input[0])
    return ""


def _passes_on(node: onnx.NodeProto, graph: FixedGraph) -> bool:
    shape, output = graph.shape(node.input[0]), graph.shape(node.output[0])
    same_shape = shape == output is not None
    operator = node.op_type
    if operator in ("Slice", "Expand"):
        return same_shape and not (operator == "Slice" and _reverses(node, graph))
    if operator in ("Concat", "Max", "Min", "Sum", "Mean"):
        return len(node.input) == 1
    if operator == "Transpose":
        perm = attribute(node, "perm", ())
        return shape is not None and list(perm) == list(range(len(shape)))
    if operator == "Tile":
        return same_shape
    if operator == "Resize":
        return same_shape and _scales_nothing(node, graph)
    if operator == "Pad":
        return same_shape and _pads_nothing(node, graph)
    if operator == "Cast":
        return bool(attribute(node, "to", 0) == onnx.TensorProto.FLOAT)
    if operator == "Dropout":
        return not any(is_used(name, graph) for name in node.output[1:])
    return _changes_nothing(node, graph)


def _changes_nothing(
    node: onnx.NodeProto, graph: FixedGraph, places: tuple[int, int] = (0, 1)
) -> bool:
    """Whether the first of two operands is passed on by the second, a constant."""
    neutral = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1, "Pow": 1}.get(node.op_type)
    if neutral is None:
        return False
    passed, other = (node.input[place] for place in places)
    same_shape = graph.shape(passed) == graph.shape(node.output[0]) is not None
    value = graph.constant(other) if same_shape else None
    return value is not None and bool((value == neutral).all())


def _reverses(node: onnx.NodeProto, graph: FixedGraph) -> bool:
    bounds = slice_bounds(node, graph)
    return bounds is None or any(step < 0 for _, _, step in bounds.values())


def _scales_nothing(node: onnx.NodeProto, graph: FixedGraph) -> bool:
    """Whether a resize to the same size takes each number from its own place."""
    scales = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    crops = attribute(node, "coordinate_transformation_mode", b"") == b"tf_crop_and_resize"
    return len(node.input) > 2 and not crops and (scales is None or bool((scales == 1).all()))


def _pads_nothing(node: onnx.NodeProto, graph: FixedGraph) -> bool:
    pads = graph.constant(node.input[1]) if len(node.input) > 1 else None
    return pads is not None and not pads.any()


def remove_identities(graph: FixedGraph) -> None:
    """Drop pass-through nodes; an output that equals another tensor becomes a copy of it.

    The larger of a tensor and itself is a copy that pnnx keeps.
    """
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.model.graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = renamed.get(name, name)
        passes_on = node.op_type == "Identity" and not node.domain
        if not passes_on or not graph.is_float(node.input[0]):
            kept.append(node)
        elif node.output[0] in graph.outputs:
            source = node.input[0]
            kept.append(graph.node(node, "Max", [source, source], node.output[0]))
        else:
            renamed[node.output[0]] = node.input[0]
    graph.replace_nodes(kept)
