"""Resizes, in the one form of each that pnnx knows."""

from __future__ import annotations

import numpy as np
import onnx

from backends.ncnn.conversion.fixed_graph import FixedGraph, Shape, attribute
from backends.ncnn.conversion.rewrites.parts import Nodes

_SCALE_ERROR = 1e-3  # of a size that is computed from a scale in fp32


def plain_resize(node: onnx.NodeProto, graph: FixedGraph) -> Nodes | None:
    """A resize of the last two axes in the one form that pnnx knows.

    Nearest neighbours are taken at ``floor(i * in / out)`` there; another rule is rewritten where
    it takes the same ones. Sizes take the place of scales for some axes.
    """
    shape, output = graph.shape(node.input[0]), graph.shape(node.output[0])
    if shape is None or output is None or len(shape) < 3 or shape[:2] != output[:2]:
        return None
    attributes = _plain_attributes(node, graph, shape, output)
    if graph.opset < 11 or attributes is None:
        return None
    sizes = graph.add_constant(np.array(output, np.int64))
    absent = "" if graph.opset >= 13 else graph.add_constant(np.zeros(0, np.float32))
    inputs = [node.input[0], absent, absent, sizes]
    return [graph.node(node, "Resize", inputs, node.output[0], **attributes)]


def _plain_attributes(
    node: onnx.NodeProto, graph: FixedGraph, shape: Shape, output: Shape
) -> dict[str, str] | None:
    """The attributes of the plain form; None where there is none, or the node has it."""
    mode = attribute(node, "mode", b"nearest").decode()
    places = attribute(node, "coordinate_transformation_mode", b"half_pixel").decode()
    axes = range(len(shape))
    if mode == "nearest":
        plain = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        is_plain = all(attribute(node, name, b"") == text.encode() for name, text in plain.items())
        takes_floor = all(_takes_floor(node, graph, axis, shape, output) for axis in axes)
        needed = takes_floor and not (is_plain and attribute(node, "axes", None) is None)
        return {"mode": mode, **plain} if needed else None
    unusual = ("antialias", "exclude_outside", "cubic_coeff_a", "keep_aspect_ratio_policy")
    if attribute(node, "axes", None) is None or places == "tf_crop_and_resize":
        return None
    if any(attribute(node, name, None) is not None for name in unusual):
        return None
    by_sizes = all(_is_scaled_to(node, graph, axis, shape, output) for axis in axes)
    return {"mode": mode, "coordinate_transformation_mode": places} if by_sizes else None


def _takes_floor(
    node: onnx.NodeProto, graph: FixedGraph, axis: int, shape: Shape, output: Shape
) -> bool:
    """Whether the nearest neighbours along an axis are those of ``floor(i * in / out)``."""
    index, size, target = np.arange(output[axis]), shape[axis], output[axis]
    if size == target:
        return True
    if not _is_scaled_to(node, graph, axis, shape, output):
        return False
    scale = _scale(node, graph, axis, len(shape)) or target / size
    places = attribute(node, "coordinate_transformation_mode", b"half_pixel").decode()
    where = {
        "half_pixel": (index + 0.5) / scale - 0.5,
        "pytorch_half_pixel": (index + 0.5) / scale - 0.5 if target > 1 else index * 0.0,
        "asymmetric": index / scale,
        "tf_half_pixel_for_nn": (index + 0.5) / scale,
        "align_corners": index * (size - 1) / max(target - 1, 1),
    }.get(places)
    if where is None:
        return False
    rounded = {
        b"round_prefer_floor": np.ceil(where - 0.5),
        b"round_prefer_ceil": np.floor(where + 0.5),
        b"floor": np.floor(where),
        b"ceil": np.ceil(where),
    }[attribute(node, "nearest_mode", b"round_prefer_floor")]
    return bool((np.clip(rounded, 0, size - 1) == index * size // target).all())


def _is_scaled_to(
    node: onnx.NodeProto, graph: FixedGraph, axis: int, shape: Shape, output: Shape
) -> bool:
    """Whether the scale is the ratio of the sizes, the only thing that ncnn computes with."""
    scale = _scale(node, graph, axis, len(shape))
    policy = attribute(node, "keep_aspect_ratio_policy", b"stretch")
    return policy == b"stretch" and (
        scale is None or abs(shape[axis] * scale - output[axis]) < _SCALE_ERROR
    )


def _scale(node: onnx.NodeProto, graph: FixedGraph, axis: int, rank: int) -> float | None:
    scales = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if scales is None or not scales.size:
        return None
    axes = [item % rank for item in attribute(node, "axes", range(rank))]
    return float(scales[axes.index(axis)]) if axis in axes else 1.0
