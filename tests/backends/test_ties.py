"""Operators that choose among equal values are named where results differ behind them."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from backends.onnx.ties import tie_advice


@pytest.fixture
def choosing_file(tmp_path):
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "relu"),
        helper.make_node("ArgMax", ["r"], ["place"], "largest"),
        helper.make_node("Cast", ["place"], ["y"], "cast", to=TensorProto.FLOAT),
    ]
    outputs = [value("y", TensorProto.FLOAT, [1, 4]), value("r", TensorProto.FLOAT, [3, 4])]
    graph = helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, [3, 4])], outputs)
    onnx.save(helper.make_model(graph), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def test_the_operator_that_a_tensor_depends_on_is_named(choosing_file):
    assert "It depends on ArgMax 'largest', which may choose any of" in tie_advice(
        choosing_file, "y"
    )


@pytest.mark.parametrize("tensor", ["r", "x", "nothing"])
def test_a_tensor_that_depends_on_no_choice_has_no_advice(choosing_file, tensor):
    assert tie_advice(choosing_file, tensor) == ""
