"""Functions that an ONNX file defines itself: inlined for engines that do not know them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from backends.contract import ConversionError, Segment, TensorSpec
from backends.convert_cli import main
from backends.onnx.functions import (
    inline_and_trace,
    inline_local_functions,
    segment_without_functions,
)
from backends.onnx.reference import reference_outputs
from backends.registry import about
from deploy.convert import convert_here
from deploy.recipe.schema import BackendRecipe
from tests.helpers.commands import BACKENDS

_HEADER = '<ir_version: 10, opset_import: ["" : 21, "local" : 1]>\n'
_NESTED = """
g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) {
    a = local.Outer <alpha = 0.2> (x)
    b = local.Outer (a)
    y = Relu (b)
}
<domain: "local", opset_import: ["" : 21, "local" : 1]>
Outer <alpha: float = 0.5> (p) => (q) { k = local.Inner <beta: float = @alpha> (p) q = Sigmoid (k) }
<domain: "local", opset_import: ["" : 21]>
Inner <beta> (p) => (q) { k = LeakyRelu <alpha: float = @beta> (p) q = Add (k, p) }
"""
_CIRCLE = """
g (float[2] x) => (float[2] y) { y = local.A (x) }
<domain: "local", opset_import: ["" : 21, "local" : 1]> A (p) => (q) { q = local.B (p) }
<domain: "local", opset_import: ["" : 21, "local" : 1]> B (p) => (q) { q = local.A (p) }
"""
_UNKNOWN = "g (float[2] x) => (float[2] y) { y = local.Missing (x) }"


def saved(tmp_path: Path, text: str) -> Segment:
    path = tmp_path / "functions.onnx"
    onnx.save(onnx.parser.parse_model(_HEADER + text), path)
    x, y = onnx.load(path).graph.input[0], onnx.load(path).graph.output[0]
    shape = tuple(dim.dim_value for dim in x.type.tensor_type.shape.dim)
    specs = [TensorSpec(value.name, "float32", shape) for value in (x, y)]
    return Segment("functions", path, specs[:1], specs[1:])


def expected(x: np.ndarray) -> np.ndarray:
    for slope in (0.2, 0.5):
        added = np.where(x < 0, x * slope, x) + x
        x = 1 / (1 + np.exp(-added))
    return np.maximum(x, 0)


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "tensorrt"])
def test_a_file_with_functions_is_converted_for_every_engine(backend, tmp_path, capsys):
    segment = saved(tmp_path, _NESTED)
    main(backend, [str(segment.onnx), str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "at 'y'" in printed or about(backend).obstacle() in printed


def test_nested_functions_keep_their_attributes_and_defaults(tmp_path):
    x = np.linspace(-3, 3, 192, dtype=np.float32).reshape(1, 3, 8, 8)
    segment = saved(tmp_path, _NESTED)
    outputs = reference_outputs(segment, {"x": x})
    np.testing.assert_allclose(outputs["y"], expected(x), atol=1e-6)
    inlined = inline_local_functions(onnx.load(segment.onnx))
    assert not inlined.functions and {node.domain for node in inlined.graph.node} == {""}


def test_each_node_of_an_inlined_graph_is_traced_to_its_call(tmp_path):
    traced = inline_and_trace(onnx.load(saved(tmp_path, _NESTED).onnx))
    kinds = [node.op_type for node in traced.model.graph.node]
    assert kinds == ["LeakyRelu", "Add", "Sigmoid", "LeakyRelu", "Add", "Sigmoid", "Relu"]
    assert traced.callers == (0, 0, 0, 1, 1, 1, 2)


def test_a_file_without_functions_stays_as_it_is(tmp_path):
    segment = saved(tmp_path, "g (float[2] x) => (float[2] y) { y = Relu (x) }")
    assert segment_without_functions(segment, tmp_path / "inlined") is segment
    assert not (tmp_path / "inlined").exists()


def test_external_weights_are_kept(tmp_path):
    segment = saved(
        tmp_path,
        """g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { y = local.Twice (x, w) }
        <domain: "local", opset_import: ["" : 21]> Twice (p, w) => (q) { q = Mul (p, w) }""",
    )
    model = onnx.load(segment.onnx)
    external = {"save_as_external_data": True, "location": "weights", "size_threshold": 0}
    onnx.save(model, segment.onnx, **external)
    inlined = segment_without_functions(segment, tmp_path / "inlined")
    (weight,) = onnx.load(inlined.onnx).graph.initializer
    assert onnx.numpy_helper.to_array(weight).tolist() == [1, 2]


def test_functions_that_call_each_other_in_a_circle_are_refused(tmp_path):
    message = "the functions that its file defines cannot be inlined: function 'local::A' calls"
    with pytest.raises(ConversionError, match=message):
        segment_without_functions(saved(tmp_path, _CIRCLE), tmp_path / "inlined")


@pytest.mark.skipif("openvino" not in BACKENDS, reason="openvino is not tested here")
def test_a_segment_that_is_converted_in_this_process_has_them_inlined(tmp_path):
    """Reference engines and the search for a wrong operator convert without a child."""
    segment = saved(tmp_path, _NESTED)
    artifact = convert_here(segment, BackendRecipe("openvino"), tmp_path / "out")
    assert artifact.inputs == segment.inputs
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(artifact.files)


def test_without_a_reference_implementation_the_converter_asks_for_a_sample(tmp_path):
    message = (
        "cannot be checked on noise: ONNX's reference implementation fails: NotImplementedError "
        "Node type 'Missing' .*Pass --sample FILE.npz with inputs and outputs, or --no-check"
    )
    with pytest.raises(ConversionError, match=message):
        reference_outputs(saved(tmp_path, _UNKNOWN), {"x": np.ones(2, np.float32)})
