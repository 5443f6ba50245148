"""Several ONNX files in one bundle: wired by names, with host steps, each held to its own file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy.runtime import Pipeline
from deploy.runtime.bundle.manifest import read_manifest
from deploy.runtime.execution import host_steps
from tests.helpers.commands import BACKENDS, error_of, output_of, run_here

FIRST = BACKENDS[0]
WORDS = ("deploy", "+model=onnx_files", "bench.runs=0", "bundle=b")
RUNNING = [name for name in BACKENDS if "tensorrt" not in name]
WIRED = (
    "model.files={mel: {file: mel.onnx, outputs: {output: features}}, "
    "embed: {file: embed.onnx, inputs: {input: features}, outputs: {output: embedding}}}"
)
AUDIO = "model.inputs={input: {shape: [1, 16]}}"


class Largest:
    """The rows of a map with the largest sums, ``count`` of them."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self, inputs):
        rows = inputs["features"]
        return {"best": rows[np.argsort(-rows.sum(1), kind="stable")[: self.count]]}


class EachRow:
    """Calls the embedding for each row."""

    def __init__(self, segments) -> None:
        self.segments = segments

    def __call__(self, inputs):
        rows = inputs["features"]
        calls = [self.segments["embed"]({"row": row[None]})["embedding"] for row in rows]
        return {"all": np.concatenate(calls)}


@pytest.fixture(autouse=True)
def registered_steps(monkeypatch):
    steps = {"test.largest": Largest, "test.each_row": EachRow}
    monkeypatch.setattr(host_steps, "_shipped", lambda: steps)


def write_model(path: Path, nodes, sizes, opset: int, rows="N"):
    """A file with one weight of this shape, and tensors called as in many files."""
    weight = np.random.default_rng(len(path.stem)).standard_normal(sizes).astype(np.float32)
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, size])
        for name, size in zip(("input", "output"), sizes, strict=True)
    ]
    graph = helper.make_graph(
        nodes, "g", values[:1], values[1:], [numpy_helper.from_array(weight, "w")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    onnx.save(model, path)


@pytest.fixture
def two_files(tmp_path: Path) -> Path:
    """Files of different operator sets, whose tensors have the same names."""
    node = helper.make_node
    write_model(tmp_path / "mel.onnx", [node("MatMul", ["input", "w"], ["output"])], (16, 8), 11)
    embed = [node("Relu", ["input"], ["r"]), node("MatMul", ["r", "w"], ["output"])]
    write_model(tmp_path / "embed.onnx", embed, (8, 4), 17)
    return tmp_path


def run_file(path: Path, value):
    return onnxruntime.InferenceSession(path).run(None, {"input": value})[0]


def random_rows(count):
    return np.random.default_rng(7).standard_normal((count, 16)).astype(np.float32)


@pytest.mark.parametrize("backend", RUNNING)
def test_two_files_are_a_chain_of_two_segments(two_files, backend):
    output_of(*WORDS, WIRED, AUDIO, f"+backend={backend}", cwd=two_files)
    x = random_rows(1)
    with Pipeline.open(two_files / "b") as pipeline:
        outputs = pipeline({"input": x})
        assert [step.name for step, _ in pipeline.chain.steps] == ["mel", "embed"]
    expected = run_file(two_files / "embed.onnx", run_file(two_files / "mel.onnx", x))
    np.testing.assert_allclose(outputs["embedding"], expected, rtol=1e-4, atol=1e-4)


def test_each_segment_is_held_to_its_own_file_and_the_chain_to_all(two_files):
    words = (f"+backend={FIRST}", f"+backend@chain.embed={RUNNING[-1]}")
    printed = output_of(*WORDS, WIRED, AUDIO, *words, cwd=two_files)
    assert "from each file in onnxruntime" in printed
    manifest = read_manifest(two_files / "b")
    measured = [(item.step, item.gap.tensor) for item in manifest.verification.gaps]
    assert measured == [("mel", "features"), ("embed", "embedding"), ("chain", "embedding")]
    assert [step.backend for step in manifest.steps] == [FIRST, RUNNING[-1]]


def test_a_size_that_varies_goes_through_all_files(two_files):
    output_of(*WORDS, WIRED, "model.dynamic={N: [1, 2, 4]}", f"+backend={FIRST}", cwd=two_files)
    with Pipeline.open(two_files / "b") as pipeline:
        assert pipeline({"input": random_rows(3)})["embedding"].shape == (3, 4)


def test_a_host_step_stands_between_two_files(two_files):
    host = (
        "partition.host=[{name: best, id: test.largest, inputs: [features], "
        "outputs: {best: {shape: [2, 8]}}, params: {count: 2}}]"
    )
    files = WIRED.replace("{input: features}", "{input: best}")
    sizes = "model.inputs={input: {shape: [5, 16]}}"
    output_of(*WORDS, files, sizes, host, f"+backend={FIRST}", cwd=two_files)
    x = random_rows(5)
    with Pipeline.open(two_files / "b", isolate="never") as pipeline:
        outputs = pipeline({"input": x})["embedding"]
    features = run_file(two_files / "mel.onnx", x)
    best = Largest(2)({"features": features})["best"]
    expected = run_file(two_files / "embed.onnx", best)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)


def test_a_host_step_may_call_a_file_for_each_row(two_files):
    host = (
        "partition.host=[{name: rows, id: test.each_row, inputs: [features], "
        "outputs: {all: {shape: [5, 4]}}, calls: [embed]}]"
    )
    files = WIRED.replace("{input: features}", "{input: row}")
    sizes = "model.inputs={input: {shape: [5, 16]}, row: {shape: [1, 8]}}"
    output_of(*WORDS, files, sizes, host, f"+backend={FIRST}", cwd=two_files)
    x = random_rows(5)
    with Pipeline.open(two_files / "b", isolate="never") as pipeline:
        outputs = pipeline({"input": x})["all"]
    expected = run_file(two_files / "embed.onnx", run_file(two_files / "mel.onnx", x))
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)


def test_an_engine_that_computes_another_file_is_found_by_its_segment(two_files, monkeypatch):
    import deploy.export.onnx_files as module

    file_segment = module.file_segment

    def changed(exported, name, names, out, *, fold):
        segment = file_segment(exported, name, names, out, fold=fold)
        if fold and name == "embed":
            model = onnx.load(segment.onnx)
            model.graph.node[0].op_type = "Abs"
            onnx.save(model, segment.onnx)
        return segment

    monkeypatch.setattr(module, "file_segment", changed)
    ended = run_here(*WORDS, WIRED, AUDIO, f"+backend={FIRST}", cwd=two_files)
    assert ended.returncode == 1
    assert "segment 'embed'" in ended.stderr
    assert "does not agree at 'embedding'" in ended.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model.files={mel: mel.onnx, embed: embed.onnx}",), "two inputs are called 'input'"),
        (
            ("model.files={mel: {file: mel.onnx, outputs: {outptu: a}}}",),
            "model.files.mel.outputs: expected names of the file's outputs (output), got outptu",
        ),
        (
            ("model.files={embed: {file: embed.onnx, inputs: {input: output}}, mel: mel.onnx}",),
            "file 'embed' takes 'output': expected what an earlier file gives",
        ),
        (
            (
                "model.files={mel: {file: mel.onnx, outputs: {output: a}}, "
                "again: {file: mel.onnx, inputs: {input: a}}}",
                AUDIO,
            ),
            "file 'again' takes 'a': expected float32[any, 16], got float32[1, 8]",
        ),
        ((WIRED, "model.inputs={audio: {shape: [1, 16]}}"), "model.inputs.audio: expected an inp"),
        ((WIRED, AUDIO, "partition.cuts=[features]"), "none: each file is a segment"),
        ((WIRED, AUDIO, "model.file=mel.onnx"), "model: expected a target, a file or files, got"),
        ((WIRED,), "leaves the size 'N' open"),
        (("model.files={mel: nothing.onnx}",), "'nothing.onnx'"),
        ((WIRED, AUDIO, f"+backend@chain.emb={FIRST}"), "expected one of the segments mel, embed"),
    ],
)
def test_files_that_cannot_be_wired_are_one_error(two_files, words, message):
    ended = run_here(*WORDS, *words, f"+backend={FIRST}", cwd=two_files)
    assert ended.returncode == 1
    assert message in ended.stderr, ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (two_files / "b").exists()


def test_two_outputs_of_one_name_are_refused(two_files):
    files = "model.files={a: mel.onnx, b: {file: embed.onnx, inputs: {input: x}}}"
    sizes = "model.inputs={input: {shape: [1, 16]}, x: {shape: [1, 8]}}"
    message = error_of(*WORDS, files, sizes, f"+backend={FIRST}", cwd=two_files)
    assert "tensor 'output' is produced twice" in message
