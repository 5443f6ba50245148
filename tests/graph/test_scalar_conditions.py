"""Conditions with several axes: one element by ONNX's rules, a scalar for every engine."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import parser

from deploy.graph.scalar_conditions import has_conditions_with_axes, make_conditions_scalar
from tests.helpers.commands import output_of

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[1, 4] x, bool[SHAPE] go) => (float[1, 4] y)
{
    y = If (go) <
        then_branch = a () => (float[1, 4] p) { p = Relu (x) },
        else_branch = b () => (float[1, 4] q) { q = Neg (x) }
    >
}
"""


def conditional(shape):
    return parser.parse_model(TEXT.replace("SHAPE", shape))


@pytest.mark.parametrize("go", [True, False])
def test_a_condition_with_axes_becomes_a_scalar_and_means_the_same(go):
    model = conditional("1, 1")
    assert has_conditions_with_axes(model)
    make_conditions_scalar(model)
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["Squeeze", "If"]
    x = np.array([[1, -1, 2, -2]], np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (y,) = session.run(None, {"x": x, "go": np.array([[go]])})
    np.testing.assert_array_equal(y, np.maximum(x, 0) if go else -x)


@pytest.mark.parametrize("shape", ["1", ""])
def test_conditions_that_every_engine_takes_stay(shape):
    text = TEXT.replace("[SHAPE]", f"[{shape}]" if shape else "")
    assert not has_conditions_with_axes(parser.parse_model(text))


def test_a_file_with_such_a_condition_runs_in_an_engine_that_takes_scalars(tmp_path):
    onnx.save(conditional("1, 1"), tmp_path / "net.onnx")
    words = ("+model=onnx", "model.file=net.onnx", "bench.runs=0", "+backend=openvino")
    assert "agreement" in output_of("deploy", *words, "bundle=b", cwd=tmp_path)
