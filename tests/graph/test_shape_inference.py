"""Shapes are inferred in files of all ages; what a file says wrongly of them is not believed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from backends.contract import Dynamic, TensorSpec
from backends.onnx.specs import read_segment
from deploy.graph.exported import Exported
from deploy.graph.loading import load_graph
from deploy.partition.segments import partition

BATCH = Dynamic("batch", 1, 2, 4)
IMAGE = TensorSpec("x", "float32", (1, 3, 16, 16))


def classifier(ir_version: int, opset: int) -> onnx.ModelProto:
    """Convolution, normalisation, pooling and a linear layer; weights are inputs too."""
    sizes = {
        "w": (8, 3, 3, 3), "scale": (8,), "bias": (8,), "mean": (8,), "var": (8,),
        "matrix": (10, 8), "vector": (10,),
    }  # fmt: skip
    weights = [
        numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in sizes.items()
    ]
    given = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in {"x": IMAGE.shape, **sizes}.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "bias", "mean", "var"], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix", "vector"], ["y"], transB=1),
    ]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])
    graph = helper.make_graph(nodes, "g", given, [result], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = ir_version
    return model


def saved(folder, model, *inputs) -> Exported:
    onnx.save(model, folder / "m.onnx")
    return Exported(folder / "m.onnx", inputs, by_name=True)


def shapes(exported, *, fold=False) -> dict[str, str]:
    graph = load_graph(exported, fold=fold).graph
    return {str(v.name): str(v.shape) for node in graph for v in node.outputs}


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize(("ir_version", "opset"), [(3, 7), (3, 8), (4, 9), (5, 10), (6, 12)])
def test_shapes_of_old_files_are_inferred_though_their_weights_are_inputs(
    tmp_path, ir_version, opset, fold
):
    known = shapes(saved(tmp_path, classifier(ir_version, opset), IMAGE), fold=fold)
    assert known["r"] == "[1,8,16,16]" and known["flat"] == "[1,8]"


def test_an_old_file_is_cut_where_its_shape_is_known(tmp_path):
    exported = saved(tmp_path, classifier(3, 7), IMAGE)
    first, second = partition(exported, [], tmp_path / "cut", across=[["r"]]).segments
    assert str(first.outputs[0]) == str(second.inputs[0]) == "float32[1, 8, 16, 16]"


def parsed(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')


def test_what_a_file_says_wrongly_of_a_tensor_is_inferred_anew(tmp_path):
    model = parsed("g (float[N,4] x) => (float[1,4] y) <float[1,4] m> { m = Relu(x) y = Neg(m) }")
    exported = saved(tmp_path, model, TensorSpec("x", "float32", (BATCH, 4)))
    first, second = partition(exported, [], tmp_path / "cut", across=[["m"]]).segments
    assert {str(spec) for spec in (*first.outputs, *second.outputs)} == {"float32[1..4, 4]"}


def test_what_a_file_says_of_operators_that_nobody_knows_is_kept(tmp_path):
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
        g (float[N,4] x) => (float[N,K] y) <float[N,6] m> { m = own.Widen(x) y = Neg(m) }""")
    exported = saved(tmp_path, model, TensorSpec("x", "float32", (2, 4)))
    assert shapes(exported, fold=True) == {"m": "[2,6]", "y": "[2,6]"}


@pytest.mark.parametrize("size", [-1, 0])
def test_a_size_that_no_tensor_has_is_an_open_one(tmp_path, size):
    model = parsed("g (float[N,4] x) => (float[N,4] y) <float[N,4] m> { m = Relu(x) y = Neg(m) }")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = size
    model.graph.value_info[0].type.tensor_type.shape.dim[0].dim_value = -1
    exported = saved(tmp_path, model, TensorSpec("x", "float32", (BATCH, 4)))
    for segment in partition(exported, [], tmp_path / "cut", across=[["m"]]).segments:
        assert {str(spec) for spec in (*segment.inputs, *segment.outputs)} == {"float32[1..4, 4]"}
    segment = read_segment(tmp_path / "m.onnx", "s", {"x.0": BATCH})
    assert str(segment.inputs[0]) == "float32[1..4, 4]"
