"""The tensor specs of an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.helper import tensor_dtype_to_np_dtype

from backends.contract import ConversionError, Dim, Dynamic, Segment, TensorSpec


def read_segment(path: Path, name: str, ranges: Mapping[str, Dynamic]) -> Segment:
    """An ONNX file as a segment.

    Args:
        path: the file.
        name: the segment's name.
        ranges: the sizes of each symbolic dimension.

    Raises:
        ConversionError: not an ONNX file, an input or output that is no tensor, or a symbolic
            dimension without a range.
    """
    if not path.is_file():
        raise ConversionError(f"model '{path}'", expected="an ONNX file", got="nothing")
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except (DecodeError, ValueError) as error:
        raise ConversionError(f"model '{path}' is not an ONNX file: {error}") from error
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if not inputs or not graph.output:
        raise ConversionError(f"model '{path}' has no inputs or no outputs")
    return Segment(
        name,
        path,
        tuple(_spec(value, ranges) for value in inputs),
        tuple(_spec(value, ranges) for value in graph.output),
    )


def _spec(value: onnx.ValueInfoProto, ranges: Mapping[str, Dynamic]) -> TensorSpec:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
        raise ConversionError(
            f"'{value.name}'", expected="a tensor of known rank", got="another type"
        )
    dtype = tensor_dtype_to_np_dtype(tensor.elem_type).name
    return TensorSpec(
        value.name, dtype, tuple(_dim(dim, value.name, ranges) for dim in tensor.shape.dim)
    )


def _dim(dim: onnx.TensorShapeProto.Dimension, tensor: str, ranges: Mapping[str, Dynamic]) -> Dim:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    if dim.dim_param not in ranges:
        raise ConversionError(
            f"dimension '{dim.dim_param}' of '{tensor}' has no sizes",
            do=f"Pass --range {dim.dim_param or 'NAME'}=MIN,OPT,MAX.",
        )
    return ranges[dim.dim_param]
