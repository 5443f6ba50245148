"""Segment -> a checked and optimized ONNX file."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime as ort
from onnx.checker import ValidationError

from backends.borders import check_border
from backends.contract import Artifact, ConversionError, Segment
from backends.files import utf8_path
from backends.onnx.model_file import read_without_weights
from backends.onnxruntime import Options, border_obstacle
from backends.onnxruntime.added_weights import rename_added_weights
from backends.onnxruntime.kernels import refused_nodes
from backends.onnxruntime.session import FAILURES, SILENT, missing_kernel_advice
from backends.options import options_json

_MODEL, _WEIGHTS = "model.onnx", "model.onnx.data"
_INLINE_BYTES = 1_500_000_000  # protobuf ends at 2 GiB

_LEVELS = {
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
}


def convert(segment: Segment, options: Options, out: Path) -> Artifact:
    """Check the segment, optimize it offline, and write it into ``out``.

    Raises:
        ConversionError: the file is not valid ONNX, ONNX Runtime cannot load it, or it passes no
            tensors of such a dtype in or out.
    """
    check_border(segment, "ONNX Runtime", border_obstacle)
    _check(segment)
    target = out / _MODEL
    if options.optimize != "off":
        _optimize(segment, _LEVELS[options.optimize], target)
        if fault := _load_fault(target):
            warnings.warn(
                f"segment '{segment.name}' is stored as it is (optimize=off): ONNX Runtime does "
                f"not load what it optimized itself: {fault}",
                stacklevel=1,
            )
            (out / _WEIGHTS).unlink(missing_ok=True)
            options = replace(options, optimize="off")
    if options.optimize == "off":
        _copy(segment.onnx, target)
    files = [name for name in (_MODEL, _WEIGHTS) if (out / name).is_file()]
    return Artifact(
        name=segment.name,
        backend="onnxruntime",
        files=tuple(files),
        inputs=segment.inputs,
        outputs=segment.outputs,
        options=options_json(options),
        tools={"onnxruntime": ort.__version__, "onnx": onnx.__version__},
    )


def _check(segment: Segment) -> None:
    model: onnx.ModelProto | str = str(segment.onnx)
    if not _has_shapes(segment.onnx):  # the engine accepts that, the checker does not
        model = onnx.load(segment.onnx)
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
    except ValidationError as error:
        raise ConversionError(f"segment '{segment.name}' is not valid ONNX: {error}") from error


def _has_shapes(path: Path) -> bool:
    """Whether the file has the rank of each input and output."""
    graph = onnx.load(path, load_external_data=False).graph
    values = (*graph.input, *graph.output)
    return all(value.type.tensor_type.HasField("shape") for value in values)


def _copy(source: Path, target: Path) -> None:
    """Copy the file; external weights are stored under the artifact's own name."""
    model = onnx.load(source)
    if model.ByteSize() < _INLINE_BYTES:
        onnx.save(model, target)
    else:
        onnx.save(model, target, save_as_external_data=True, location=_WEIGHTS)


def _optimize(segment: Segment, level: ort.GraphOptimizationLevel, target: Path) -> None:
    settings = ort.SessionOptions()
    settings.graph_optimization_level = level
    settings.optimized_model_filepath = str(target)
    settings.log_severity_level = SILENT
    # weights that the engine does not rewrite would stay in the segment's own external data
    model: bytes | Path = segment.onnx
    if _size(segment.onnx) < _INLINE_BYTES:
        model = onnx.load(segment.onnx).SerializeToString()
    else:
        settings.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", _WEIGHTS
        )
    try:
        ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    except FAILURES as error:
        raise ConversionError(
            f"segment '{segment.name}': {error}",
            do=missing_kernel_advice(error),
            refused=refused_nodes(read_without_weights(segment.onnx, inline_bytes=4096), Options()),
        ) from error
    rename_added_weights(segment.onnx, target)


def _load_fault(path: Path) -> str:
    """Why the device could not load a file, at the level of optimization that it uses."""
    settings = ort.SessionOptions()
    settings.log_severity_level = SILENT
    try:
        with utf8_path(path) as file:
            ort.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
    except FAILURES as error:
        return str(error)
    return ""


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
