"""Strings, sequences, maps and optional values stay inside a segment, and each remedy works."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, TypeProto, helper, numpy_helper

from deploy.runtime.bundle.manifest import read_manifest
from tests.helpers.commands import output_of, run_here

NO_BENCH = "bench.runs=0"

WEIGHTS = np.linspace(-1, 1, 64).reshape(8, 8).astype(np.float32)
ROW = helper.make_tensor_type_proto(TensorProto.FLOAT, [1, 8])
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
TO_MATRIX = helper.make_node("MatMul", ["x", "w"], ["a"])
ENDS = {
    "a tensor of strings": (
        [helper.make_node("Cast", ["a"], ["y"], to=TensorProto.STRING)],
        helper.make_tensor_type_proto(TensorProto.STRING, [1, 8]),
    ),
    "a sequence": (
        [helper.make_node("SplitToSequence", ["a"], ["y"], axis=1)],
        helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None)),
    ),
    "an optional value": (
        [helper.make_node("Optional", ["a"], ["y"])],
        helper.make_optional_type_proto(ROW),
    ),
}
STARTS = {
    "a sequence": (
        helper.make_node("ConcatFromSequence", ["s"], ["b"], axis=1),
        helper.make_sequence_type_proto(ROW),
    ),
    "an optional value": (
        helper.make_node("OptionalGetElement", ["s"], ["b"]),
        helper.make_optional_type_proto(ROW),
    ),
    "a tensor of strings": (
        helper.make_node(
            "LabelEncoder", ["s"], ["b"], domain="ai.onnx.ml", keys_strings=["a", "b"],
            values_floats=[1.0, 2.0],
        ),
        helper.make_tensor_type_proto(TensorProto.STRING, [1, 8]),
    ),
}  # fmt: skip
FILE = [
    "deploy",
    "+model=onnx",
    "model.file=net.onnx",
    "+backend=onnxruntime",
    NO_BENCH,
    "bundle=b",
]


def save(
    path: Path, nodes: list[onnx.NodeProto], inputs: dict[str, TypeProto], **outputs: TypeProto
) -> None:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_value_info(name, kind) for name, kind in inputs.items()],
        [helper.make_value_info(name, kind) for name, kind in outputs.items()],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    model = helper.make_model(graph, opset_imports=OPSETS)
    model.ir_version = 8
    onnx.save(model, path)


def error_of(*words: str, cwd: Path) -> str:
    """What a run said that was refused in one sentence."""
    ended = run_here(*words, cwd=cwd)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert not (cwd / "b").exists()
    return ended.stderr


def outputs_of(folder: Path) -> list[str]:
    manifest = read_manifest(folder / "b")
    assert manifest.verification.status == "passed"
    return [spec.name for spec in manifest.outputs]


@pytest.mark.parametrize("kind", ENDS)
def test_an_output_that_is_no_tensor_of_numbers_is_refused_with_a_cut_before_it(tmp_path, kind):
    nodes, result = ENDS[kind]
    save(tmp_path / "net.onnx", [TO_MATRIX, *nodes], {"x": ROW}, y=result)
    error = error_of(*FILE, cwd=tmp_path)
    assert f"output 'y' cannot cross a border: expected a tensor of numbers, got {kind}" in error
    output_of(*FILE, re.search(r"partition\.segments=.*\]", error)[0], cwd=tmp_path)
    assert outputs_of(tmp_path) == ["a"]


def test_a_classifier_with_a_map_of_probabilities_is_cut_before_the_map(tmp_path):
    classifier = helper.make_node(
        "LinearClassifier", ["x"], ["label", "prob"], domain="ai.onnx.ml",
        coefficients=[0.1] * 16, intercepts=[0.0, 0.1], classlabels_ints=[0, 1],
        multi_class=0, post_transform="SOFTMAX",
    )  # fmt: skip
    zipped = helper.make_node(
        "ZipMap", ["prob"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]
    )
    scalar = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, scalar))
    label = helper.make_tensor_type_proto(TensorProto.INT64, [1])
    save(tmp_path / "net.onnx", [classifier, zipped], {"x": ROW}, label=label, y=maps)
    error = error_of(*FILE, cwd=tmp_path)
    assert "output 'y' cannot cross a border: expected a tensor of numbers, got a sequence" in error
    assert "end: [label, prob]" in error
    output_of(*FILE, re.search(r"partition\.segments=.*\]", error)[0], cwd=tmp_path)
    assert outputs_of(tmp_path) == ["label", "prob"]
    shutil.rmtree(tmp_path / "b")
    files = [
        "deploy",
        "+model=onnx_files",
        "model.name=m",
        "+backend=onnxruntime",
        NO_BENCH,
        "bundle=b",
    ]
    files.append("model.files={net: {file: net.onnx}}")
    error = error_of(*files, cwd=tmp_path)
    assert "output 'y' of file 'net': expected a tensor of numbers, got a sequence" in error
    run_advice(error, tmp_path)
    output_of(*files, "model.files.net.file=part.onnx", cwd=tmp_path)
    assert outputs_of(tmp_path) == ["label", "prob"]


def run_advice(error: str, folder: Path) -> None:
    """Run the command that an error gives, ``python -c "..."``, in a folder."""
    code = re.search(r'python -c "import onnx.utils; (.*)"', error)[1]
    code = code.replace("'net.onnx'", repr(str(folder / "net.onnx")))
    exec(code.replace("'part.onnx'", repr(str(folder / "part.onnx"))), {"onnx": onnx})


@pytest.mark.parametrize("kind", STARTS)
def test_an_input_that_is_no_tensor_of_numbers_is_refused_with_what_saves_the_rest(tmp_path, kind):
    import onnx.utils  # noqa: F401 - as the command does

    node, taken = STARTS[kind]
    last = helper.make_node("MatMul", ["b", "w"], ["y"])
    save(tmp_path / "net.onnx", [node, last], {"s": taken}, y=ROW)
    error = error_of(*FILE, cwd=tmp_path)
    assert f"input 's' of the file: expected a tensor of numbers, got {kind}" in error
    run_advice(error, tmp_path)
    output_of(*FILE, "model.file=part.onnx", *sizes_of(tmp_path), cwd=tmp_path)
    assert outputs_of(tmp_path) == ["y"]


def sizes_of(folder: Path) -> list[str]:
    value = onnx.load(folder / "part.onnx").graph.input[0]
    fixed = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return [] if fixed and all(fixed) else ["model.inputs={b: {shape: [1, 8]}}"]


def test_an_input_of_strings_that_nothing_is_left_without_says_so(tmp_path):
    node, taken = STARTS["a tensor of strings"]
    save(tmp_path / "net.onnx", [node], {"s": taken}, b=ROW)
    error = error_of(*FILE, cwd=tmp_path)
    assert "Nothing is left for an engine without it: compute it on the host" in error
