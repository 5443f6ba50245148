"""What OpenVINO is told, what it complains with, and what its tensors are called."""

from __future__ import annotations

from collections.abc import Mapping

from backends.contract import Dynamic, TensorSpec
from backends.openvino import Options
from backends.openvino.library import ov
from backends.options import threads_here

# what the binding makes of the exceptions of C++; the engine's own is a RuntimeError
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


_MOST_TEXT = 400


_PLACES = ("Exception from", "Check '", "FrontEnd API failed", "Summary:")


def settings(options: Options) -> dict[str, str | int]:
    """What a model is compiled with.

    fp32 is fp32: left to itself the engine computes in bfloat16 where the processor can, and
    quantises on its own in transformers.
    """
    told: dict[str, str | int] = {
        "PERFORMANCE_HINT": "LATENCY",
        "EXECUTION_MODE_HINT": "ACCURACY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    if options.threads:
        told["INFERENCE_NUM_THREADS"] = threads_here(options.threads)
    return told


def shape_of(spec: TensorSpec) -> ov.PartialShape:
    """The spec's shape with the bounds of what varies."""
    if spec.shape is None:
        return ov.PartialShape.dynamic()
    dims = (
        ov.Dimension(dim.min, dim.max) if isinstance(dim, Dynamic) else ov.Dimension(dim)
        for dim in spec.shape
    )
    return ov.PartialShape(list(dims))


def dtype_of(port: ov.ConstOutput) -> str:
    """NumPy's name of a port's dtype; the engine's own where there is none."""
    name: str = port.get_element_type().get_type_name()
    return DTYPES.get(name, name)


def engine_message(error: Exception) -> str:
    """What the engine says, without the places in its source."""
    lines = (line.strip() for line in str(error).splitlines())
    said = [line.removeprefix("-- ") for line in lines if line and not line.startswith(_PLACES)]
    return " ".join(said)[:_MOST_TEXT] or str(error)[:_MOST_TEXT] or type(error).__name__
