"""The shapes that OpenVINO gives the tensors of a segment, against those of the ONNX file."""

from __future__ import annotations

from pathlib import Path

import onnx

from backends.contract import EngineError
from backends.onnx.model_file import read_without_weights
from backends.openvino.library import ov


def check_shapes(model: ov.Model, path: Path) -> None:
    """Refuse a model that OpenVINO reads with other shapes than the file has.

    Args:
        model: as OpenVINO read it.
        path: the segment's file.

    Raises:
        EngineError: with the first operator whose result has another shape.
    """
    graph = read_without_weights(path).graph
    values = (value for value in graph.value_info if value.type.tensor_type.HasField("shape"))
    shapes = {value.name: _shape(value) for value in values}
    operators = {name: node.op_type for node in graph.node for name in node.output}
    for operation in model.get_ordered_ops():
        for port in operation.outputs():
            known = [name for name in port.get_names() if name in shapes]
            for name in known:
                if not shapes[name].compatible(port.get_partial_shape()):
                    raise EngineError(
                        f"OpenVINO reads {operators.get(name, 'an operator')}, which gives "
                        f"'{name}', in another way",
                        expected=f"its shape {shapes[name]}",
                        got=str(port.get_partial_shape()),
                    )


def _shape(value: onnx.ValueInfoProto) -> ov.PartialShape:
    dims = (
        ov.Dimension(dim.dim_value) if dim.HasField("dim_value") else ov.Dimension.dynamic()
        for dim in value.type.tensor_type.shape.dim
    )
    return ov.PartialShape(list(dims))
