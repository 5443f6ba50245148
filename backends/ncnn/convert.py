"""The desk half: converts a segment to ncnn's ``.param`` and ``.bin`` files with pnnx."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import onnx

from backends.contract import (
    Artifact,
    ConversionError,
    Dynamic,
    MissingLibraryError,
    Segment,
    TensorSpec,
    install_hint,
)
from backends.ncnn import Options, one_row_shape, runs_row_by_row
from backends.ncnn.library import ncnn
from backends.options import options_json

_PARAM, _BIN, _AXES = "model.ncnn.param", "model.ncnn.bin", "axes.json"
_SCRIPT = "model_ncnn.py"
_LOG_LINES = 12  # of pnnx, that an error shows
_AXIS = re.compile(r"\b(in\d+|out\d+)\.numpy\((?:\)|batch_index=(\d+)\))(?:, batch_index=(\d+))?")


def convert(segment: Segment, options: Options, out: Path) -> Artifact:
    """Convert with pnnx and write parameters, weights and batch axes into ``out``.

    Where the number of rows is the only dynamic dimension, the net is converted for one row.

    Raises:
        ConversionError: another dynamic dimension, a tensor that is not float32, a reduction over
            axes that are not constant, or pnnx failed.
    """
    by_row = runs_row_by_row(segment.inputs, segment.outputs)
    for spec in (*segment.inputs, *segment.outputs):
        _check_spec(segment.name, spec, by_row)
    _check_reductions(segment)
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        folder = Path(scratch)
        log = _run_pnnx(segment, options, folder)
        for name in (_PARAM, _BIN):
            _check_written(segment.name, folder / name, log)
            shutil.move(folder / name, out / name)
        axes = batch_axes((folder / _SCRIPT).read_text())
    _check_blobs(segment, axes, out / _PARAM)
    (out / _AXES).write_text(json.dumps(axes))
    return Artifact(
        name=segment.name,
        backend="ncnn",
        files=(_PARAM, _BIN, _AXES),
        inputs=segment.inputs,
        outputs=segment.outputs,
        precision="fp16" if options.fp16 else "fp32",
        options=options_json(options),
        tools={"ncnn": version("ncnn"), "pnnx": version("pnnx")},
    )


def batch_axes(script: str) -> dict[str, int]:
    """The batch axis of each blob, from the Python script that pnnx writes beside the net.

    ncnn's tensors keep the batch apart from the other axes; 233 means that there is none.
    """
    return {
        blob: int(output_axis or input_axis)
        for blob, output_axis, input_axis in _AXIS.findall(script)
    }


def _check_spec(segment: str, spec: TensorSpec, by_row: bool) -> None:
    varies = any(isinstance(dim, Dynamic) for dim in spec.dims)
    if spec.shape is None or (varies and not by_row):
        raise ConversionError(
            f"segment '{segment}': ncnn's files are of fixed shape, and '{spec.name}' is {spec}",
            do="Let nothing vary but the number of rows, or choose another backend for it.",
        )
    if spec.dtype != "float32":
        raise ConversionError(
            f"segment '{segment}': tensor '{spec.name}'",
            expected="float32 for ncnn",
            got=spec.dtype,
            do="Cut so that it stays outside, or choose another backend for this segment.",
        )


def _check_reductions(segment: Segment) -> None:
    """Refuse a reduction over computed axes: pnnx drops such axes without an error."""
    graph = onnx.load(segment.onnx, load_external_data=False).graph
    constant = {tensor.name for tensor in graph.initializer}
    constant |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    for node in graph.node:
        axes = node.input[1] if node.op_type.startswith("Reduce") and len(node.input) > 1 else ""
        if axes and axes not in constant:
            raise ConversionError(
                f"segment '{segment.name}': {node.op_type} '{node.name}' computes its axes",
                do="Give them as constants, or choose another backend for this segment.",
            )


def _run_pnnx(segment: Segment, options: Options, folder: Path) -> str:
    # pnnx writes beside the model, and reads external data from <model>.data there
    onnx.save(
        onnx.load(segment.onnx),
        folder / segment.onnx.name,
        save_as_external_data=True,
        location=f"{segment.onnx.name}.data",
    )
    shapes = ",".join(f"[{','.join(map(str, one_row_shape(spec)))}]" for spec in segment.inputs)
    command = [str(_pnnx_binary()), segment.onnx.name, f"inputshape={shapes}"]
    command += [f"fp16={int(options.fp16)}", f"ncnnparam={_PARAM}", f"ncnnbin={_BIN}"]
    completed = subprocess.run(
        [*command, f"ncnnpy={_SCRIPT}"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if completed.returncode:
        raise ConversionError(
            f"segment '{segment.name}': pnnx ended with {completed.returncode}\n"
            f"{_last_lines(completed.stdout)}"
        )
    return completed.stdout


def _pnnx_binary() -> Path:
    # importing the pnnx package would import torch
    spec = find_spec("pnnx")
    if spec is None or spec.origin is None:
        raise MissingLibraryError("pnnx is missing", do=install_hint("desk"))
    return Path(spec.origin).with_name("pnnx")


def _check_written(segment: str, path: Path, log: str) -> None:
    if path.name == _BIN and path.is_file() and not path.stat().st_size:
        path.write_bytes(bytes(4))  # a net without weights: ncnn crashes on an empty file
    if not path.is_file() or not path.stat().st_size:
        raise ConversionError(f"segment '{segment}': pnnx wrote no {path.name}\n{_last_lines(log)}")


def _check_blobs(segment: Segment, axes: Mapping[str, int], param: Path) -> None:
    """Inputs and outputs are matched by position, so none may be missing or added."""
    expected = {f"in{index}" for index in range(len(segment.inputs))}
    expected |= {f"out{index}" for index in range(len(segment.outputs))}
    layers = [line.split() for line in param.read_text().splitlines()[2:]]
    blobs = {word for layer in layers for word in layer[4 : 4 + int(layer[2]) + int(layer[3])]}
    if axes.keys() != expected or not expected <= blobs:
        raise ConversionError(
            f"segment '{segment.name}': pnnx changed the inputs or outputs",
            expected=", ".join(sorted(expected)),
            got=", ".join(sorted(axes)),
        )
    kinds = {layer[0] for layer in layers}
    if unknown := sorted(kind for kind in kinds if ncnn.layer_to_index(kind) < 0):
        raise ConversionError(
            f"segment '{segment.name}': ncnn has no {', '.join(unknown)}",
            do="Cut around it, or choose another backend for this segment.",
        )


def _last_lines(log: str) -> str:
    return "\n".join(log.strip().splitlines()[-_LOG_LINES:])
