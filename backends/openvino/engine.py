"""OpenVINO's properties, exceptions, shapes and dtypes, and the check of a model's tensors."""

from __future__ import annotations

from collections.abc import Sequence

from backends.contract import Dynamic, EngineError, Specs, TensorSpec
from backends.openvino import DTYPES, Options
from backends.openvino.library import ov
from backends.options import clamp_threads

# what the binding raises for exceptions of C++; the engine's own is a RuntimeError
FAILURES = (RuntimeError, ValueError, TypeError, LookupError, OverflowError, MemoryError)

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


def partial_shape(spec: TensorSpec) -> ov.PartialShape:
    """The spec's shape with the bounds of its dynamic dimensions."""
    if spec.shape is None:
        return ov.PartialShape.dynamic()
    dims = (
        ov.Dimension(dim.min, dim.max) if isinstance(dim, Dynamic) else ov.Dimension(dim)
        for dim in spec.shape
    )
    return ov.PartialShape(list(dims))


def port_dtype(port: ov.ConstOutput) -> str:
    """NumPy's name of a port's dtype, or the engine's where NumPy has none."""
    name: str = port.get_element_type().get_type_name()
    return DTYPES.get(name, name)


def check_ports(ports: Sequence[ov.ConstOutput], specs: Specs) -> None:
    """Refuse inputs or outputs of other names, dtypes or shapes; they are matched by position.

    Raises:
        EngineError: with the tensor that differs from its spec.
    """
    if len(ports) != len(specs):
        raise EngineError(
            "tensors of the OpenVINO model",
            expected=", ".join(spec.name for spec in specs),
            got=", ".join(map(_names, ports)) or "none",
        )
    for port, spec in zip(ports, specs, strict=True):
        matches = spec.name in port.get_names() and port_dtype(port) == spec.dtype
        if not matches or not partial_shape(spec).compatible(port.get_partial_shape()):
            raise EngineError(
                f"'{spec.name}' of the OpenVINO model",
                expected=str(spec),
                got=f"'{_names(port)}', {port_dtype(port)}{port.get_partial_shape()}",
            )


def engine_message(error: Exception) -> str:
    """The engine's message without the positions in its source code."""
    lines = (line.strip() for line in str(error).splitlines())
    kept = [
        line.removeprefix("-- ")
        for line in lines
        if line and not line.startswith(_SOURCE_POSITIONS)
    ]
    return " ".join(kept)[:_MAX_MESSAGE] or str(error)[:_MAX_MESSAGE] or type(error).__name__


def _names(port: ov.ConstOutput) -> str:
    return ", ".join(sorted(port.get_names()))[:80]
