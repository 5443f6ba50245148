"""OpenVINO's properties, exceptions, shapes and dtypes."""

from __future__ import annotations

from collections.abc import Mapping

from backends.contract import Dynamic, TensorSpec
from backends.openvino import Options
from backends.openvino.library import ov
from backends.options import clamp_threads

# what the binding raises for exceptions of C++; the engine's own is a RuntimeError
FAILURES = (RuntimeError, ValueError, TypeError, LookupError, OverflowError, MemoryError)

DTYPES: Mapping[str, str] = {
    "boolean": "bool",
    "f16": "float16",
    "f32": "float32",
    "i8": "int8",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
    "u8": "uint8",
    "u16": "uint16",
    "u32": "uint32",
    "u64": "uint64",
}

_MAX_MESSAGE = 400  # characters
_SOURCE_POSITIONS = ("Exception from", "Check '", "FrontEnd API failed", "Summary:")


def settings(options: Options) -> dict[str, str | int]:
    """The properties that a model is compiled with.

    fp32 stays fp32: by default the engine computes in bfloat16 where the processor can, and
    quantizes parts of transformers.
    """
    properties: dict[str, str | int] = {
        "PERFORMANCE_HINT": "LATENCY",
        "EXECUTION_MODE_HINT": "ACCURACY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    if options.threads:
        properties["INFERENCE_NUM_THREADS"] = clamp_threads(options.threads)
    return properties


def shape_of(spec: TensorSpec) -> ov.PartialShape:
    """The spec's shape with the bounds of its dynamic dimensions."""
    if spec.shape is None:
        return ov.PartialShape.dynamic()
    dims = (
        ov.Dimension(dim.min, dim.max) if isinstance(dim, Dynamic) else ov.Dimension(dim)
        for dim in spec.shape
    )
    return ov.PartialShape(list(dims))


def dtype_of(port: ov.ConstOutput) -> str:
    """NumPy's name of a port's dtype, or the engine's where NumPy has none."""
    name: str = port.get_element_type().get_type_name()
    return DTYPES.get(name, name)


def engine_message(error: Exception) -> str:
    """The engine's message without the positions in its source code."""
    lines = (line.strip() for line in str(error).splitlines())
    kept = [
        line.removeprefix("-- ")
        for line in lines
        if line and not line.startswith(_SOURCE_POSITIONS)
    ]
    return " ".join(kept)[:_MAX_MESSAGE] or str(error)[:_MAX_MESSAGE] or type(error).__name__
