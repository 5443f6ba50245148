"""What a recipe says of an ONNX file's inputs, sizes, ranges and values; an engine's refusals."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from backends.contract import DeployError, EngineError
from deploy.cli.compose import from_plain
from deploy.export.onnx_source import OnnxSource, complete_inputs, with_open_sizes
from deploy.graph.loading import load_graph
from deploy.recipe.sample_inputs import sample_inputs
from deploy.recipe.schema import RecipeError


@pytest.fixture
def file(tmp_path):
    """A file of two inputs: its sizes are -1 as some exporters write them, and a sample rate."""
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[N,3,H,W] x, int64 rate) => (float[N,A] y) {
          scale = Cast<to = 1>(rate) scaled = Mul(x, scale) y = Flatten(scaled)
        }""")
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        if dim.dim_param:
            dim.dim_value = -1
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def recipe(file, inputs, **model):
    values = {"name": "net", "file": str(file), "inputs": inputs, **model}
    values["reference"] = {"name": "onnxruntime"}
    return from_plain({"model": values, "backend": {"name": "onnxruntime"}}).model


SIZES = {"shape": [1, 3, 8, 8]}


def test_a_size_that_is_open_is_asked_for_with_all_that_has_to_be_said(file):
    message = (
        r"input 'x' of the file leaves the size 'axis 0' open.* Fix them: model.inputs=\{x: "
        r"\{shape: \[batch, 3, x_2, x_3\]\}\} with numbers for the names, or let them vary: with "
        r"these names, and model.dynamic=\{batch: \[min, opt, max\], x_2: \[min, opt, max\], x_3"
    )
    with pytest.raises(RecipeError, match=message):
        complete_inputs(recipe(file, {}))


def test_both_remedies_for_an_open_size_work(file):
    assert complete_inputs(recipe(file, {"x": SIZES})).inputs["x"].shape == [1, 3, 8, 8]
    named = {"x": {"shape": ["batch", 3, "x_2", "x_3"]}}
    ranges = {"batch": [1, 1, 2], "x_2": [8, 8, 16], "x_3": [8, 8, 16]}
    exported = OnnxSource(complete_inputs(recipe(file, named, dynamic=ranges))).export({}, file)
    assert str(exported.inputs[0]) == "float32[1..2, 3, 8..16, 8..16]"


def test_a_file_is_looked_at_with_any_sizes(file):
    exported = OnnxSource(complete_inputs(with_open_sizes(recipe(file, {})))).export({}, file)
    assert str(exported.inputs[0]) == "float32[1.., 3, 1.., 1..]"


def test_sizes_whose_names_cannot_be_written_get_others(tmp_path):
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[N] x) => (float[N] y) { y = Relu(x) }""")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "2 * floor(n/2)"
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(RecipeError, match=r"shape: \[size_2___floor_n_2_\]"):
        complete_inputs(recipe(tmp_path / "odd.onnx", {}))


@pytest.mark.parametrize("value", [16000, 16000.0])
def test_an_input_with_a_value_is_none_of_the_chain(file, value):
    if isinstance(value, float):
        with pytest.raises(RecipeError, match=r"rate.value: expected values of int64, got 16000.0"):
            complete_inputs(recipe(file, {"x": SIZES, "rate": {"value": value}}))
        return
    model = complete_inputs(recipe(file, {"x": SIZES, "rate": {"value": value}}))
    exported = OnnxSource(model).export({}, file)
    assert [spec.name for spec in exported.inputs] == list(sample_inputs(model, [])) == ["x"]
    assert exported.constants["rate"] == 16000
    assert [value.name for value in load_graph(exported).graph.inputs] == ["x"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], r"expected the shape \[\], got \[2\]"),
        ("fast", "expected a number or nested lists of int64, got fast"),
        ([[1], [2, 3]], "expected a number or nested lists of int64, got"),
        (True, "expected values of int64, got True"),
        (2**70, "expected a number or nested lists of int64, got"),
    ],
)
def test_a_value_is_of_the_files_type_and_shape(file, value, message):
    with pytest.raises(RecipeError, match=rf"model.inputs.rate.value: {message}"):
        complete_inputs(recipe(file, {"x": SIZES, "rate": {"value": value}}))


def test_a_number_is_also_the_value_of_a_tensor_of_one(file):
    model = onnx.load(file)
    model.graph.input[1].type.tensor_type.shape.dim.add().dim_value = 1
    onnx.save(model, file)
    exported = OnnxSource(
        complete_inputs(recipe(file, {"x": SIZES, "rate": {"value": 8000}}))
    ).export({}, file)
    assert exported.constants["rate"].tolist() == [8000]


def test_one_input_varies(file):
    values = {"x": {"value": np.zeros((1, 3, 1, 1)).tolist()}, "rate": {"value": 1}}
    with pytest.raises(RecipeError, match=r"expected an input without a value, got values of all"):
        complete_inputs(recipe(file, values))


def test_a_file_that_fixed_sizes_make_invalid_is_to_let_them_vary(tmp_path):
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[N,M] x, bool single) => (float[A] y) {
          axes = Constant<value = int64[1] {0}>()
          m = If(single) <then_branch = t () => (float[B] a) { a = Squeeze(x, axes) },
                          else_branch = e () => (float[C,D] b) { b = Identity(x) }>
          y = Relu(m)
        }""")
    for value in (model.graph.output[0], *(a.g.output[0] for a in model.graph.node[1].attribute)):
        value.type.tensor_type.ClearField("shape")
    file = tmp_path / "net.onnx"
    onnx.save(model, file)
    fixed = OnnxSource(complete_inputs(recipe(file, {"x": {"shape": [2, 3]}})))
    fixed.export({}, tmp_path)
    advice = r"[Ll]et them vary: model.dynamic=\{N: \[2, 2, 2\], M: \[3, 3, 3\]\}, with these names"
    with pytest.raises(DeployError, match=advice):
        fixed.reference({"y": "y"}, tmp_path / "fixed")
    inputs, dynamic = {"x": {"shape": ["N", "M"]}}, {"N": [2, 2, 2], "M": [3, 3, 3]}
    varying = OnnxSource(complete_inputs(recipe(file, inputs, dynamic=dynamic)))
    reference = varying.reference({"y": "y"}, tmp_path / "varying")
    x = np.ones((2, 3), np.float32)
    assert (reference({"x": x, "single": np.array(False)})["y"] == x).all()


def test_an_error_of_an_engine_about_a_file_without_branches_stays_as_it_is(file, monkeypatch):
    def refuse(*_):
        raise EngineError("no memory")

    monkeypatch.setattr("deploy.export.onnx_source.load_segment", refuse)
    source = OnnxSource(complete_inputs(recipe(file, {"x": SIZES})))
    with pytest.raises(DeployError, match=r"^no memory$"):
        source.reference({"y": "y"}, file.parent / "reference")


@pytest.mark.parametrize(
    ("key", "value", "classes"),
    [
        ("names", "{0: 'ant', 1: \"bee's\"}", ["ant", "bee's"]),
        ("character", "a\n \n\u3000\n", ["a", " ", "\u3000"]),
        ("names", "{0: 'ant', 2: 'bee'}", []),
        ("names", "{0: 1}", []),
        ("names", "['ant']", []),
        ("names", "(" * 5_000, []),
        ("names", "{0: 'a\\n'}", []),
        ("character", "x" * 1_001, []),
        ("character", "x" * (2 << 20), []),
        ("labels", "ant", []),
    ],
)
def test_the_files_own_names_are_the_classes_where_the_recipe_has_none(file, key, value, classes):
    model = onnx.load(file)
    onnx.helper.set_model_props(model, {key: value})
    onnx.save(model, file)
    assert complete_inputs(recipe(file, {"x": SIZES})).classes == classes
    assert complete_inputs(recipe(file, {"x": SIZES}, classes=["own"])).classes == ["own"]
