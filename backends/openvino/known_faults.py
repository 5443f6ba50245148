"""Nodes that OpenVINO translates and then computes in another way than ONNX says.

``scripts/check-support openvino`` finds such nodes among the node tests of onnx.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from backends.onnx.graph_parts import Types, small_constants

_SIGNED = (TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64)
_WINDOW = ("left_window_size", "right_window_size")
_SCALES = 2  # an input of Resize
_VALUE_BYTES = 4096  # of constants such as scales
_PEEPHOLES = 7  # an input of LSTM
_PAST = 4  # the input of Attention that has earlier keys


@dataclass(frozen=True)
class _Graph:
    """What is known of a graph's tensors, by their names."""

    types: Types
    constants: Mapping[str, TensorProto]


def known_faults(graph: onnx.GraphProto, types: Types) -> Iterator[tuple[int, str]]:
    """The numbers of such nodes, and what is wrong with each."""
    known = _Graph(types, small_constants(graph, _VALUE_BYTES))
    for number, node in enumerate(graph.node):
        if not node.domain and node.op_type in _FAULTS:
            values = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
            if fault := _FAULTS[node.op_type](node, values, known):
                yield number, f"OpenVINO computes it in another way: {fault}"


def _attention(node: onnx.NodeProto, values: Mapping[str, object], graph: _Graph) -> str:
    if any(values.get(name, -1) != -1 for name in _WINDOW):
        return "it ignores windows"
    if values.get("is_causal") and any(node.input[_PAST : _PAST + 1]):
        return "its causal mask ignores earlier keys"
    return ""


def _bit_shift(node: onnx.NodeProto, values: Mapping[str, object], graph: _Graph) -> str:
    kind = graph.types.get(node.input[0])
    is_signed = kind is not None and kind.tensor_type.elem_type in _SIGNED
    return "shifts of signed numbers" if is_signed else ""


def _lstm(node: onnx.NodeProto, values: Mapping[str, object], graph: _Graph) -> str:
    return "it ignores peepholes" if any(node.input[_PEEPHOLES:]) else ""


def _resize(node: onnx.NodeProto, values: Mapping[str, object], graph: _Graph) -> str:
    if values.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        return "it ignores keep_aspect_ratio_policy"
    for name in ("antialias", "exclude_outside"):
        if values.get(name):
            return f"other weights with {name}"
    aligned = values.get("coordinate_transformation_mode") == b"align_corners"
    scales = graph.constants.get(next(iter(node.input[_SCALES : _SCALES + 1]), ""))
    if aligned and scales is not None and (onnx.numpy_helper.to_array(scales) < 1).any():
        return "align_corners with scales below 1"
    return ""


def _roi_align(node: onnx.NodeProto, values: Mapping[str, object], graph: _Graph) -> str:
    return "mode=max" if values.get("mode") == b"max" else ""


def _space_to_depth(node: onnx.NodeProto, values: Mapping[str, object], graph: _Graph) -> str:
    return "mode=CRD" if values.get("mode") == b"CRD" else ""


def _tile(node: onnx.NodeProto, values: Mapping[str, object], graph: _Graph) -> str:
    return "" if set(node.input[1:]) <= graph.constants.keys() else "repeats that are no constants"


_FAULTS: Mapping[str, Callable[[onnx.NodeProto, Mapping[str, object], _Graph], str]] = {
    "Attention": _attention,
    "BitShift": _bit_shift,
    "LSTM": _lstm,
    "Resize": _resize,
    "RoiAlign": _roi_align,
    "SpaceToDepth": _space_to_depth,
    "Tile": _tile,
}
