"""A parsed graph -> what ONNX Runtime runs in an engine."""

from __future__ import annotations

import hashlib

import onnx
from onnx import TensorProto, numpy_helper

from ._bfloat16 import emulate
from ._graph import inputs
from ._plan import Weight

_FLOATING = frozenset(
    {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN}
)


def prepare(parsed: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every dynamic size of an input has a name, and no tensor is bfloat16."""
    model = onnx.ModelProto()
    model.CopyFrom(parsed)
    emulate(model.graph)
    del model.graph.value_info[:]
    for value in inputs(model.graph):
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            if not size.HasField("dim_value") and not size.dim_param:
                size.dim_param = f"{value.name}/{axis}"
    for value in model.graph.output:  # what the file says of them is inferred anew
        for size in value.type.tensor_type.shape.dim:
            size.ClearField("dim_param")
    return model


def symbols(value: onnx.ValueInfoProto) -> list[str | None]:
    """The names of the dynamic sizes of a prepared graph's input."""
    dims = value.type.tensor_type.shape.dim
    return [None if size.HasField("dim_value") else str(size.dim_param) for size in dims]


def weights(graph: onnx.GraphProto) -> dict[str, Weight]:
    """Those that a refit can replace: numbers to compute with, no sizes."""
    chosen = (weight for weight in graph.initializer if weight.data_type in _FLOATING)
    return {weight.name: _described(weight) for weight in chosen}


def weight_bytes(graph: onnx.GraphProto) -> int:
    return sum(weight.ByteSize() for weight in graph.initializer)


def strip(graph: onnx.GraphProto) -> None:
    """Take the values of its weights away."""
    for weight in graph.initializer:
        if weight.data_type in _FLOATING:
            _replace(weight, TensorProto(name=weight.name, data_type=weight.data_type))


def fill(graph: onnx.GraphProto, source: onnx.GraphProto) -> None:
    """Give it the values of another graph's weights of the same names."""
    values = {weight.name: weight for weight in source.initializer}
    for weight in graph.initializer:
        if weight.data_type in _FLOATING:
            _replace(weight, values[weight.name])


def _replace(weight: TensorProto, other: TensorProto) -> None:
    dims = list(other.dims) or list(weight.dims)
    weight.CopyFrom(other)
    weight.dims[:] = dims


def _described(weight: TensorProto) -> Weight:
    values = numpy_helper.to_array(weight)
    digest = hashlib.sha256(values.tobytes()).hexdigest()
    return Weight(weight.data_type, list(weight.dims), digest)
