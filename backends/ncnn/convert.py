"""The desk half: converts a segment to ncnn's ``.param`` and ``.bin`` files with pnnx."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import onnx

from backends.contract import Artifact, ConversionError, Dynamic, Segment, TensorSpec
from backends.files import temporary_folder
from backends.ncnn import Options, net_shape, runs_row_by_row
from backends.ncnn.conversion.diagnosis import Cause, Fault, batch_axes, diagnose
from backends.ncnn.conversion.fixed_graph import FixedGraph
from backends.ncnn.conversion.pnnx import AXES, BIN, PARAM, SCRIPT, run_pnnx
from backends.ncnn.conversion.refusals import refusal
from backends.ncnn.conversion.rewrites import rewrite_graph
from backends.ncnn.conversion.rewrites.biases import add_zero_biases
from backends.ncnn.conversion.rewrites.rotations import keep_rotations_apart
from backends.ncnn.conversion.wrong_forms import check_forms
from backends.options import options_json


def convert(segment: Segment, options: Options, out: Path) -> Artifact:
    """Convert with pnnx and write parameters, weights and batch axes into ``out``.

    The graph is rewritten before, to forms that pnnx takes (``conversion/rewrites/``).
    Where the number of rows is the only dynamic dimension, the net is converted for one row.

    Raises:
        ConversionError: another dynamic dimension, a tensor that is not float32, a node that pnnx
            crashes on or that ncnn cannot compute.
    """
    by_row = runs_row_by_row(segment.inputs, segment.outputs)
    for spec in (*segment.inputs, *segment.outputs):
        _check_spec(segment.name, spec, by_row)
    shapes = {spec.name: net_shape(spec) for spec in segment.inputs}
    graph = FixedGraph(onnx.load(segment.onnx), shapes, options.fp16)
    rewrite_graph(graph)
    check_forms(segment.name, graph)
    sizes = list(shapes.values())
    with temporary_folder(out) as folder:
        run = run_pnnx(graph.model, sizes, folder, options.fp16)
        fault = diagnose(run, segment.inputs, segment.outputs)
        if fault is not None and _avoid(fault, graph):
            (folder / "again").mkdir()
            run = run_pnnx(graph.model, sizes, folder / "again", options.fp16)
            fault = diagnose(run, segment.inputs, segment.outputs)
        if fault is not None:
            raise refusal(segment.name, graph, fault)
        axes = batch_axes((run.folder / SCRIPT).read_text())
        for path in (run.param, run.bin):
            shutil.move(path, out / path.name)
    (out / AXES).write_text(json.dumps(axes))
    return Artifact(
        name=segment.name,
        backend="ncnn",
        files=(PARAM, BIN, AXES),
        inputs=segment.inputs,
        outputs=segment.outputs,
        precision="fp16" if options.fp16 else "fp32",
        options=options_json(options),
        tools={"ncnn": version("ncnn"), "pnnx": version("pnnx")},
    )


def _avoid(fault: Fault, graph: FixedGraph) -> bool:
    """Change a graph so that pnnx does not fuse what it fuses wrongly; whether there is such."""
    if fault.cause is Cause.CRASH:
        return add_zero_biases(graph)
    return "RotaryEmbed" in fault.layers and keep_rotations_apart(graph)


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
