"""Segment -> OpenVINO's ``.xml`` and ``.bin``."""

from __future__ import annotations

from pathlib import Path

from backends.contract import Artifact, ConversionError, EngineError, Segment, TensorSpec
from backends.openvino import DTYPES, Options
from backends.openvino.engine import FAILURES, check_ports, engine_message, partial_shape
from backends.openvino.ir import check_ir
from backends.openvino.library import ov
from backends.openvino.shapes import check_shapes
from backends.options import options_json

_XML, _BIN = "model.xml", "model.bin"
_FLOAT32 = (
    "Let the model have it in float32 (in PyTorch: .float() in its forward), or cut elsewhere"
)
_OTHER_BACKEND = "Choose another backend for this segment."


def convert(segment: Segment, options: Options, out: Path) -> Artifact:
    """Read the segment, set the bounds of its dynamic dimensions, and write IR into ``out``.

    Raises:
        ConversionError: OpenVINO lacks an operator or dtype, or reads other tensors than the
            segment's specs.
    """
    for spec in segment.inputs:
        _check_rank(segment.name, spec)
    for spec in (*segment.inputs, *segment.outputs):
        _check_dtype(segment.name, spec)
    try:
        model = ov.Core().read_model(segment.onnx)
        check_ports(model.inputs, segment.inputs)
        model.reshape(dict(enumerate(map(partial_shape, segment.inputs))))
        _check_outputs(model, segment)
        # by default the weights would be stored in fp16
        ov.save_model(model, out / _XML, compress_to_fp16=False)
        check_ir((out / _XML).read_bytes(), _XML, (out / _BIN).stat().st_size)
    except FAILURES as error:
        raise ConversionError(
            f"segment '{segment.name}': {engine_message(error)}", do=_OTHER_BACKEND
        ) from error
    except EngineError as error:
        raise ConversionError(f"segment '{segment.name}': {error}", do=_OTHER_BACKEND) from error
    return Artifact(
        name=segment.name,
        backend="openvino",
        files=(_XML, _BIN),
        inputs=segment.inputs,
        outputs=segment.outputs,
        options=options_json(options),
        tools={"openvino": ov.get_version()},
    )


def _check_outputs(model: ov.Model, segment: Segment) -> None:
    try:
        check_ports(model.outputs, segment.outputs)
    except EngineError:
        check_shapes(model, segment.onnx)  # which operator is the first
        raise


def _check_rank(segment: str, spec: TensorSpec) -> None:
    if spec.shape is None:
        raise ConversionError(
            f"segment '{segment}': input '{spec.name}'",
            expected="a known number of dimensions for OpenVINO",
            got=str(spec),
            do=_OTHER_BACKEND,
        )


def _check_dtype(segment: str, spec: TensorSpec) -> None:
    if spec.dtype not in DTYPES.values():
        advice = _FLOAT32 if "float" in spec.dtype else "Cut so that it stays outside"
        raise ConversionError(
            f"segment '{segment}': tensor '{spec.name}'",
            expected=f"one of {', '.join(DTYPES.values())} for OpenVINO",
            got=spec.dtype,
            do=f"{advice}, or: {_OTHER_BACKEND.lower()}",
        )
