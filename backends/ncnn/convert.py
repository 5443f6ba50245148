"""Segment -> ncnn's ``.param`` and ``.bin``, through pnnx."""

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
from backends.ncnn import Options, goes_by_rows
from backends.ncnn.library import ncnn
from backends.options import options_json

_PARAM, _BIN, _AXES = "model.ncnn.param", "model.ncnn.bin", "axes.json"


_SCRIPT = "model_ncnn.py"


_TAIL = 12  # lines of pnnx's log that an error shows


_AXIS = re.compile(r"\b(in\d+|out\d+)\.numpy\((?:\)|batch_index=(\d+)\))(?:, batch_index=(\d+))?")


def convert(segment: Segment, options: Options, out: Path) -> Artifact:
    """Convert with pnnx and write parameters, weights and batch axes into ``out``.

    Where nothing varies but the number of rows, the net is for one row.

    Raises:
        ConversionError: another dynamic dimension, a tensor that is not float32, a reduction over
            axes that are not constant, or pnnx failed.
    """
    rows = goes_by_rows(segment.inputs, segment.outputs)
    for spec in (*segment.inputs, *segment.outputs):
        _check_spec(segment.name, spec, rows)
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
    """Which axis of each blob is the batch, from the script that pnnx writes beside the net.

    ncnn's tensors keep the batch apart from the other axes; 233 means there is none.
    """
    found = {}
    for name, output_axis, input_axis in _AXIS.findall(script):
        found[name] = int(output_axis or input_axis)
    return found


def _check_spec(segment: str, spec: TensorSpec, rows: bool) -> None:
    varies = any(isinstance(dim, Dynamic) for dim in spec.dims)
    if spec.shape is None or (varies and not rows):
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
    """Pnnx loses the axes of a reduction without a word when they are computed."""
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
    # pnnx writes beside the model, and looks for its weights there under the model's own name
    onnx.save(
        onnx.load(segment.onnx),
        folder / segment.onnx.name,
        save_as_external_data=True,
        location=f"{segment.onnx.name}.data",
    )
    shapes = ",".join(f"[{','.join(map(str, _sizes(spec)))}]" for spec in segment.inputs)
    command = [str(_binary()), segment.onnx.name, f"inputshape={shapes}"]
    command += [f"fp16={int(options.fp16)}", f"ncnnparam={_PARAM}", f"ncnnbin={_BIN}"]
    done = subprocess.run(
        [*command, f"ncnnpy={_SCRIPT}"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise ConversionError(
            f"segment '{segment.name}': pnnx ended with {done.returncode}\n{_tail(done.stdout)}"
        )
    return done.stdout


def _sizes(spec: TensorSpec) -> list[int]:
    """The shape, with one row where their number varies."""
    return [1 if isinstance(dim, Dynamic) else dim for dim in spec.dims]


def _binary() -> Path:
    # importing the pnnx package would import torch
    spec = find_spec("pnnx")
    if spec is None or spec.origin is None:
        raise MissingLibraryError("pnnx is missing", do=install_hint("desk"))
    return Path(spec.origin).with_name("pnnx")


def _check_written(segment: str, path: Path, log: str) -> None:
    if path.name == _BIN and path.is_file() and not path.stat().st_size:
        path.write_bytes(bytes(4))  # of a net without weights; ncnn crashes on an empty file
    if not path.is_file() or not path.stat().st_size:
        raise ConversionError(f"segment '{segment}': pnnx wrote no {path.name}\n{_tail(log)}")


def _check_blobs(segment: Segment, axes: Mapping[str, int], param: Path) -> None:
    """Inputs and outputs go by position, so there must be just as many blobs."""
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
    if foreign := sorted(kind for kind in kinds if ncnn.layer_to_index(kind) < 0):
        raise ConversionError(
            f"segment '{segment.name}': ncnn has no {', '.join(foreign)}",
            do="Cut around it, or choose another backend for this segment.",
        )


def _tail(log: str) -> str:
    return "\n".join(log.strip().splitlines()[-_TAIL:])
