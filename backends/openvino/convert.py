"""Segment -> OpenVINO's ``.xml`` and ``.bin``."""

from __future__ import annotations

from pathlib import Path

from backends.borders import check_border
from backends.contract import Artifact, ConversionError, EngineError, Segment
from backends.onnx.model_file import read_without_weights
from backends.openvino import Options, border_obstacle
from backends.openvino.engine import FAILURES, check_ports, engine_message, partial_shape
from backends.openvino.ir import check_ir
from backends.openvino.library import ov
from backends.openvino.refusals import INLINE_BYTES, refused_nodes
from backends.openvino.shapes import first_other_shape
from backends.options import options_json

_XML, _BIN = "model.xml", "model.bin"
_OTHER_BACKEND = "Choose another backend for this segment."


def convert(segment: Segment, options: Options, out: Path) -> Artifact:
    """Read the segment, set the bounds of its dynamic dimensions, and write IR into ``out``.

    Raises:
        ConversionError: OpenVINO lacks an operator or dtype, or reads other tensors than the
            segment's specs.
    """
    check_border(segment, "OpenVINO", border_obstacle)
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
            f"segment '{segment.name}': {engine_message(error)}",
            do=_OTHER_BACKEND,
            refused=refused_nodes(read_without_weights(segment.onnx, INLINE_BYTES), segment),
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
    except EngineError as error:
        other = first_other_shape(model, read_without_weights(segment.onnx).graph)
        if other is None:
            raise
        raise ConversionError(
            f"segment '{segment.name}': OpenVINO reads {other.node.operator}, which gives "
            f"'{other.tensor}', in another way",
            expected=f"its shape {other.expected}",
            got=other.got,
            do=_OTHER_BACKEND,
            refused=(other.node,),
        ) from error
