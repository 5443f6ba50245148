"""Nodes that OpenVINO translates and then computes in another way than ONNX says.

``scripts/check-support openvino`` finds such nodes among the node tests of onnx.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import onnx
from onnx import TensorProto

from backends.onnx.graph_parts import Types

_SIGNED = (TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64)
_WINDOW = ("left_window_size", "right_window_size")
_PEEPHOLES = 7  # an input of LSTM
_PAST = 4  # the input of Attention that has earlier keys


def known_faults(graph: onnx.GraphProto, types: Types) -> Iterator[tuple[int, str]]:
    """The numbers of such nodes, and what is wrong with each."""
    for number, node in enumerate(graph.node):
        if not node.domain and node.op_type in _FAULTS:
            values = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
            if fault := _FAULTS[node.op_type](node, values, types):
                yield number, f"OpenVINO computes it in another way: {fault}"


def _attention(node: onnx.NodeProto, values: Mapping[str, object], types: Types) -> str:
    if any(values.get(name, -1) != -1 for name in _WINDOW):
        return "it ignores windows"
    if values.get("is_causal") and any(node.input[_PAST : _PAST + 1]):
        return "its causal mask ignores earlier keys"
    return ""


def _bit_shift(node: onnx.NodeProto, values: Mapping[str, object], types: Types) -> str:
    kind = types.get(node.input[0])
    is_signed = kind is not None and kind.tensor_type.elem_type in _SIGNED
    return "shifts of signed numbers" if is_signed else ""


def _lstm(node: onnx.NodeProto, values: Mapping[str, object], types: Types) -> str:
    return "it ignores peepholes" if any(node.input[_PEEPHOLES:]) else ""


def _resize(node: onnx.NodeProto, values: Mapping[str, object], types: Types) -> str:
    if values.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        return "it ignores keep_aspect_ratio_policy"
    cubic, aligned = values.get("mode") == b"cubic", b"align_corners"
    if cubic and values.get("coordinate_transformation_mode") == aligned:
        return "mode=cubic with align_corners"
    return ""


_FAULTS: Mapping[str, Callable[[onnx.NodeProto, Mapping[str, object], Types], str]] = {
    "Attention": _attention,
    "BitShift": _bit_shift,
    "LSTM": _lstm,
    "Resize": _resize,
}
