"""The tensor specs of an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import onnx
from onnx.helper import tensor_dtype_to_np_dtype

from backends.contract import UNBOUNDED, ConversionError, Dim, Dynamic, Segment, TensorSpec
from backends.onnx.model_file import read_without_weights

_ANY = Dynamic("any", 0, 1, UNBOUNDED)  # an output whose size depends on the data


def read_segment(path: Path, name: str, ranges: Mapping[str, Dynamic]) -> Segment:
    """An ONNX file as a segment.

    Args:
        path: the file. Of a symbolic link the segment is its target, beside which the external
            data are.
        name: the segment's name.
        ranges: the sizes of each open dimension, by its name, or of one without a name by
            ``<tensor>.<axis>``.

    Raises:
        OnnxFileError: the file is missing or is no ONNX model.
        UnsafeFileError: the file or its external data are unsafe to open.
        ConversionError: an input or output is no tensor, or a symbolic dimension of an input has
            no range.
    """
    graph = read_without_weights(path).graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if not inputs or not graph.output:
        raise ConversionError(f"model '{path}' has no inputs or no outputs")
    return Segment(
        name,
        path.resolve() if path.is_symlink() else path,
        tuple(_spec(value, ranges) for value in inputs),
        tuple(_spec(value, ranges, _ANY) for value in graph.output),
    )


def dtype_of(value: onnx.ValueInfoProto) -> str:
    """NumPy's name of a tensor's dtype.

    Raises:
        ConversionError: the file has an unknown dtype.
    """
    number = value.type.tensor_type.elem_type
    try:
        return str(tensor_dtype_to_np_dtype(number).name)
    except KeyError as error:
        raise ConversionError(
            f"'{value.name}' of the file", expected="a dtype of ONNX", got=str(number)
        ) from error


def fixed_size(dim: onnx.TensorShapeProto.Dimension) -> int | None:
    """The size of a dimension; None where the file leaves it open.

    Some exporters write an open size as -1 or 0.
    """
    return int(dim.dim_value) if dim.dim_value > 0 else None


def _spec(
    value: onnx.ValueInfoProto, ranges: Mapping[str, Dynamic], default: Dynamic | None = None
) -> TensorSpec:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        raise ConversionError(f"'{value.name}'", expected="a tensor", got="another type")
    dtype = dtype_of(value)
    if not tensor.HasField("shape"):
        return TensorSpec(value.name, dtype, None)
    axes = enumerate(tensor.shape.dim)
    dims = tuple(_dim(dim, value.name, axis, ranges, default) for axis, dim in axes)
    return TensorSpec(value.name, dtype, dims)


def _dim(
    dim: onnx.TensorShapeProto.Dimension,
    tensor: str,
    axis: int,
    ranges: Mapping[str, Dynamic],
    default: Dynamic | None,
) -> Dim:
    size = fixed_size(dim)
    if size is not None:
        return size
    name = dim.dim_param or f"{tensor}.{axis}"
    if name in ranges:
        return ranges[name]
    if default is None:
        raise ConversionError(
            f"axis {axis} of '{tensor}' has an open size '{name}' without a range",
            do=f"Pass --range {name}=MIN,OPT,MAX.",
        )
    return replace(default, name=dim.dim_param or "any")
