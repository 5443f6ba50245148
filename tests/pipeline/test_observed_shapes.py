"""What a file or the inference of shapes says wrongly of a tensor gives way to what a run shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from deploy.runtime.bundle.manifest import read_manifest
from tests.helpers.commands import BACKENDS, output_of

NO_BENCH = "bench.runs=0"

FILE = ["deploy", "+model=onnx", "model.file=net.onnx", NO_BENCH, "bundle=b"]
ORT = "+backend=onnxruntime"
LARGE = """
    g (float[N, 4] x) => (float[N] y)
    <int64[1] flat = {-1}, float low = {-100}>
    { f = Reshape(x, flat) k = Greater(f, low) c = Compress(f, k) y = Neg(c) }
"""
RANKLESS = """
    g (float[N, 4] x, bool[1] keep) => (float[N] y)
    <int64[1] flat = {-1}>
    { order = Compress(flat, keep) y = Reshape(x, order) }
"""
SPECTRUM = """
    g (float[1, 256] x) => (float[1, T, 4] y)
    <int64 step = {16}>
    {
      z = STFT (x, step, window)
      p = ReduceSumSquare <axes = [-1], keepdims = 0> (z)
      y = MatMul(p, matrix)
    }
"""


def save(path: Path, text: str, **weights: np.ndarray) -> None:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    for name, value in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    onnx.save(model, path)


def shapes_of(folder: Path) -> dict[str, str]:
    manifest = read_manifest(folder / "b")
    assert manifest.verification.status == "passed"
    tensors = [spec for step in manifest.steps for spec in (*step.inputs, *step.outputs)]
    return {spec.name: str(spec) for spec in (*tensors, *manifest.outputs)}


@pytest.mark.parametrize(
    "backend", [name for name in BACKENDS if name in ("onnxruntime", "openvino")]
)
def test_an_output_declared_with_the_batch_size_has_the_size_that_it_has(tmp_path, backend):
    save(tmp_path / "net.onnx", LARGE)
    words = [*FILE, f"+backend={backend}", "model.inputs={x: {shape: [1, 4]}}"]
    output_of(*words, cwd=tmp_path)
    assert shapes_of(tmp_path)["y"] == "float32[4]"


def test_of_an_open_batch_a_wrong_declaration_is_an_open_size(tmp_path):
    save(tmp_path / "net.onnx", RANKLESS)
    inputs = "model.inputs={x: {shape: [N, 4]}, keep: {shape: [1], range: [1, 1]}}"
    output_of(*FILE, ORT, inputs, "model.dynamic={N: [1, 2, 8]}", cwd=tmp_path)
    assert shapes_of(tmp_path)["y"] == "float32[0..]"


WEIGHTS = {
    "window": np.hanning(64).astype(np.float32),
    "matrix": np.linspace(-1, 1, 33 * 4).reshape(33, 4).astype(np.float32),
}


@pytest.mark.parametrize("cuts", ["[]", "[z]", "[p]"])
def test_an_operator_whose_inference_is_wrong_is_deployed_and_cut_with_the_true_sizes(
    tmp_path, cuts
):
    save(tmp_path / "net.onnx", SPECTRUM, **WEIGHTS)
    output_of(*FILE, ORT, f"partition.cuts={cuts}", cwd=tmp_path)
    known = shapes_of(tmp_path)
    assert known["y"] == "float32[1, 13, 4]"
    assert known.get("z") in (None, "float32[1, 13, 33, 2]")
    assert known.get("p") in (None, "float32[1, 13, 33]")
    for segment in (tmp_path / "b.work" / "segments").glob("*.onnx"):
        for value in onnx.load(segment).graph.value_info:
            sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            assert 64 not in sizes[2:], f"a wrong size of '{value.name}' is in the segment"


def test_beside_an_input_of_open_size_the_wrong_size_alone_is_open(tmp_path):
    text = SPECTRUM.replace("x) =>", "x, float[N] s) =>").replace(
        "(float[1, T, 4] y)", "(float[1, T, 4] y, float[N] t)"
    )
    save(tmp_path / "net.onnx", text.replace("z = STFT", "t = Neg(s) z = STFT"), **WEIGHTS)
    words = ["model.dynamic={N: [1, 2, 4]}", "partition.cuts=[[z, t]]"]
    output_of(*FILE, ORT, *words, cwd=tmp_path)
    assert shapes_of(tmp_path)["z"] == "float32[1, 13, 0.., 2]"


def test_files_in_a_chain_have_the_true_sizes_too(tmp_path):
    save(tmp_path / "mel.onnx", SPECTRUM, **WEIGHTS)
    last = "g (float[1, 13, 4] y) => (float[N] v) <int64[1] flat = {-1}, float low = {-100}>"
    save(
        tmp_path / "last.onnx",
        last + "{ f = Reshape(y, flat) k = Greater(f, low) c = Compress(f, k) v = Neg(c) }",
    )
    files = "model.files={mel: {file: mel.onnx}, last: {file: last.onnx}}"
    output_of(
        "deploy",
        "+model=onnx_files",
        "model.name=m",
        files,
        ORT,
        NO_BENCH,
        "bundle=b",
        cwd=tmp_path,
    )
    assert shapes_of(tmp_path)["v"] in ("float32[52]", "float32[0..]")
