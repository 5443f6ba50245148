"""Nodes that pnnx converts without an error to something else: refused before."""

from __future__ import annotations

import onnx

from backends.contract import ConversionError
from backends.ncnn.conversion.fixed_graph import STANDARD, FixedGraph, Origin, attribute
from backends.ncnn.conversion.refusals import remedy, shortened

_RECURRENT = ("GRU", "LSTM", "RNN")


def check_forms(segment: str, graph: FixedGraph) -> None:
    """Refuse nodes that would be converted to something else.

    Raises:
        ConversionError: names them.
    """
    wrong = wrong_forms(graph)
    if wrong:
        nodes = [f"{origin}: {reason}" for origin, reason in wrong.items()]
        raise ConversionError(
            f"segment '{segment}': ncnn cannot compute {shortened(nodes, '; ')}",
            do=remedy(segment, graph, list(wrong)),
            refused=tuple(origin.refused(reason) for origin, reason in wrong.items()),
        )


def wrong_forms(graph: FixedGraph) -> dict[Origin, str]:
    """The nodes of the segment that would be converted to something else, each with the reason."""
    wrong: dict[Origin, str] = {}
    for node in graph.model.graph.node:
        if reason := _reason(node, graph):
            wrong.setdefault(graph.origin(node), reason)
    return wrong


def _reason(node: onnx.NodeProto, graph: FixedGraph) -> str:
    if node.domain not in STANDARD:
        return ""
    if node.op_type.startswith("Reduce"):
        return _reduction(node, graph)
    if node.op_type == "Resize":
        return _resize(node)
    if node.op_type == "GridSample":
        return _grid_sample(node)
    return _recurrent(node, graph) if node.op_type in _RECURRENT else ""


def _reduction(node: onnx.NodeProto, graph: FixedGraph) -> str:
    """Pnnx drops axes that are computed, and a single one that is an input."""
    if len(node.input) < 2 or not node.input[1] or node.op_type == "ReduceProd":
        return ""
    axes = graph.constant(node.input[1])
    if axes is None:
        return f"it computes its axes '{node.input[1]}', which must be constants"
    return "its single axis would be lost" if axes.size == 1 else ""


def _resize(node: onnx.NodeProto) -> str:
    """Ncnn has one rule for nearest neighbours, and none that smooths or interpolates from 0."""
    mode = attribute(node, "mode", b"nearest")
    places = attribute(node, "coordinate_transformation_mode", b"half_pixel").decode()
    if (
        mode == b"nearest"
        and places != "asymmetric"
        and attribute(node, "nearest_mode", b"") == b"floor"
    ):
        return f"coordinate_transformation_mode: expected asymmetric for nearest, got {places}"
    if mode != b"nearest" and places in ("asymmetric", "tf_half_pixel_for_nn"):
        return f"coordinate_transformation_mode: expected half_pixel or align_corners, got {places}"
    return "it smooths (antialias)" if attribute(node, "antialias", 0) else ""


def _grid_sample(node: onnx.NodeProto) -> str:
    """Ncnn rounds halfway points, reflects at borders and weighs by cubes otherwise than ONNX."""
    mode = attribute(node, "mode", b"linear").decode()
    if mode not in ("linear", "bilinear"):
        return f"mode: expected linear, got {mode}"
    padding = attribute(node, "padding_mode", b"zeros").decode()
    return (
        f"padding_mode: expected zeros or border, got {padding}" if padding == "reflection" else ""
    )


def _recurrent(node: onnx.NodeProto, graph: FixedGraph) -> str:
    """Ncnn's layers have one state for all rows, and one order of the reset gate."""
    if node.op_type == "GRU" and not attribute(node, "linear_before_reset", 0):
        return "linear_before_reset: expected 1, got 0"
    shape = graph.shape(node.input[0])
    rows = shape[1] if shape is not None and len(shape) == 3 else 1
    states = [*node.input[5:], *(name for name in node.output[1:] if graph.uses[name])]
    states += [name for name in node.output[1:] if name in graph.outputs]
    named = [name for name in states if name]
    if rows > 1 and named:
        return f"it has {rows} rows, and ncnn keeps one state ('{named[0]}') for all"
    return ""
