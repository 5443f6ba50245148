"""The shapes that OpenVINO gives the tensors of a segment, against those of the ONNX file."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from backends.onnx.graph_parts import first_output, node_label
from backends.openvino.engine import port_dtype
from backends.openvino.library import ov
from backends.support import RefusedNode

_NO_DTYPE = "dynamic"


@dataclass(frozen=True)
class OtherShape:
    """A tensor whose shape in OpenVINO is not that of the file.

    Attributes:
        operation: OpenVINO's, which gives it.
        node: the file's, with the reason.
        tensor: its name.
        expected: its shape in the file.
        got: its shape in OpenVINO.
    """

    operation: ov.Node
    node: RefusedNode
    tensor: str
    expected: str
    got: str


def first_other_shape(model: ov.Model, graph: onnx.GraphProto) -> OtherShape | None:
    """The first operator whose result has another shape than in the file.

    Args:
        model: as OpenVINO read it.
        graph: of the file.
    """
    values = (*graph.value_info, *graph.output)
    with_shapes = (value for value in values if value.type.tensor_type.HasField("shape"))
    shapes = {value.name: _shape(value) for value in with_shapes}
    numbers = {name: number for number, node in enumerate(graph.node) for name in node.output}
    for operation in model.get_ordered_ops():
        for port in operation.outputs():
            got = port.get_partial_shape()
            for name in port.get_names() & shapes.keys() & numbers.keys():
                if shapes[name].compatible(got) and port_dtype(port) != _NO_DTYPE:
                    continue
                node, expected = graph.node[numbers[name]], str(shapes[name])
                told = f"{got}" if port_dtype(port) != _NO_DTYPE else f"{got} of no known dtype"
                reason = f"'{name}': expected its shape {expected}, got {told} in OpenVINO"
                label = node_label(node, numbers[name])
                refused = RefusedNode(label, node.op_type, reason, first_output(node))
                return OtherShape(operation, refused, name, expected, told)
    return None


def _shape(value: onnx.ValueInfoProto) -> ov.PartialShape:
    dims = (
        ov.Dimension(dim.dim_value) if dim.HasField("dim_value") else ov.Dimension.dynamic()
        for dim in value.type.tensor_type.shape.dim
    )
    return ov.PartialShape(list(dims))
