"""Functions of a file itself become the nodes of their bodies, which every engine knows."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from backends.contract import TensorSpec
from backends.onnx.model_file import OnnxFileError
from deploy.graph.exported import Exported
from deploy.graph.loading import load_graph
from deploy.partition.segments import partition
from tests.helpers.chains import run

X = np.array([[-1, 2, -3], [4, -5, 6]], np.float32)
SPEC = TensorSpec("x", "float32", (2, 3))
SCALE = """<domain: "own", opset_import: ["" : 17]> Scale <factor: float = 2.0> (a) => (b)
    { c = Constant<value_float: float = @factor>() b = Mul(a, c) }"""


def saved(folder, body: str, *functions: str, inputs: str = "float[2,3] x") -> Exported:
    model = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : 17, "own" : 1]> g ({inputs}) => (float[2,3] y) '
        + "\n".join([body, *functions])
    )
    onnx.save(model, folder / "m.onnx")
    specs = (SPEC, TensorSpec("c", "bool", ())) if "bool" in inputs else (SPEC,)
    return Exported(folder / "m.onnx", specs, by_name=True)


def outcome(exported, folder):
    """What the one segment gives, whose operators are all ONNX's own."""
    (segment,) = partition(exported, [], folder / "cut").segments
    model = onnx.load(segment.onnx)
    assert not model.functions and all(not node.domain for node in model.graph.node)
    return run(segment.onnx, {"x": X})["y"]


NESTED = """<domain: "own", opset_import: ["" : 17, "own" : 1]> Outer (a) => (b)
    { t = own.Scale(a) b = Relu(t) }"""
CASES = {
    "nested, with a default attribute": ("{ y = own.Outer(x) }", (NESTED, SCALE), X.clip(0) * 2),
    "with an attribute": ("{ y = own.Scale<factor = 3.0>(x) }", (SCALE,), X * 3),
    "called twice": ("{ m = own.Scale(x) y = own.Scale<factor = 3.0>(m) }", (SCALE,), X * 6),
    "of the name of an operator": (
        "{ y = own.Relu(x) }",
        ('<domain: "own", opset_import: ["" : 17]> Relu (a) => (b) { b = Neg(a) }',),
        -X,
    ),
    "in place of an operator": (
        "{ y = Relu(x) }",
        ('<domain: "", opset_import: ["" : 17]> Relu (a) => (b) { b = Neg(a) }',),
        -X,
    ),
    "of an older version of the operators": (
        "{ y = own.Sum(x) }",
        (
            '<domain: "own", opset_import: ["" : 11]> Sum <axis: int = 1> (a) => (b) '
            "{ s = ReduceSum<axes = [1], keepdims = 1>(a) b = Add(a, s) }",
        ),
        X + X.sum(1, keepdims=True),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_function_is_replaced_by_its_body(tmp_path, case):
    body, functions, expected = CASES[case]
    assert (outcome(saved(tmp_path, body, *functions), tmp_path) == expected).all()


def test_a_function_inside_a_branch_is_replaced(tmp_path):
    exported = saved(
        tmp_path,
        """{ y = If(c) <then_branch = t () => (float[2,3] a) { a = own.Scale(x) },
                         else_branch = e () => (float[2,3] b) { b = Relu(x) }> }""",
        SCALE,
        inputs="float[2,3] x, bool c",
    )
    model = load_graph(exported)
    assert not model.functions
    assert {node.domain for node in model.graph.all_nodes()} == {""}


def test_a_function_that_calls_itself_is_one_error(tmp_path):
    loop = '<domain: "own", opset_import: ["" : 17, "own" : 1]> F (a) => (b) { b = own.F(a) }'
    with pytest.raises(OnnxFileError, match="function 'own::F' calls itself"):
        load_graph(saved(tmp_path, "{ y = own.F(x) }", loop))


def test_functions_that_grow_without_bound_end_with_an_error(tmp_path):
    double = [
        f'<domain: "own", opset_import: ["" : 17, "own" : 1]> F{n} (a) => (b) '
        f"{{ t = own.F{n + 1}(a) b = own.F{n + 1}(t) }}"
        for n in range(60)
    ]
    last = '<domain: "own", opset_import: ["" : 17]> F60 (a) => (b) { b = Neg(a) }'
    with pytest.raises(OnnxFileError, match="functions stand for more than 1,048,576 operators"):
        load_graph(saved(tmp_path, "{ y = own.F0(x) }", *double, last))
