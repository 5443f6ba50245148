"""An ONNX file -> the planner's graph: which nodes it has, and what must stay together."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from backends.contract import Dynamic, Segment, TensorSpec
from deploy.graph import simplification
from deploy.placement.operator_graph import OperatorGraph
from deploy.placement.read_graph import read_operator_graph, whole_file

HEADER = '<ir_version: 10, opset_import: ["" : 21, "custom" : 1]>\ng '


@pytest.fixture
def read(tmp_path, monkeypatch):
    # simplified in this process
    monkeypatch.setattr(simplification, "has_digest", lambda *_: True)

    def of(text: str, *inputs: TensorSpec) -> OperatorGraph:
        onnx.save(onnx.parser.parse_model(HEADER + text), tmp_path / "model.onnx")
        specs = inputs or (TensorSpec("x", "float32", (2, 3)),)
        return read_operator_graph(whole_file(Segment("model", tmp_path / "model.onnx", specs, ())))

    return of


def names(graph: OperatorGraph, groups: tuple[tuple[int, ...], ...]) -> list[str]:
    return [" ".join(graph.nodes[number].output for number in group) for group in groups]


def test_a_node_has_the_tensors_that_it_and_its_bodies_read(read):
    graph = read(
        """(float[2,3] x, bool c) => (float[2,3] y)
        {
          a = Neg(x)
          b = Exp(a)
          y = If(c) <
            then_branch = yes () => (float[2,3] p) { p = Sub(a, b) },
            else_branch = no () => (float[2,3] q) { q = Identity(a) }
          >
        }""",
        TensorSpec("x", "float32", (2, 3)),
        TensorSpec("c", "bool", ()),
    )
    assert [node.output for node in graph.nodes] == ["a", "b", "y"]
    assert {graph.tensors[t].name for t in graph.nodes[2].reads} == {"a", "b", "c"}
    assert [t.name for t in graph.tensors if t.is_output] == ["y"]


def test_constants_and_what_nothing_needs_are_no_nodes_and_constant_outputs_are_named(read):
    graph = read(
        """(float[2,3] x) => (float[2,3] y, float[3] v)
        <float[3] w = {1.0, 2.0, 3.0}>
        {
          v = Neg(w)
          a = Mul(x, v)
          lost = Exp(a)
          y = Tanh(a)
        }"""
    )
    assert [node.output for node in graph.nodes] == ["a", "y"]
    assert graph.constant_outputs == ("v",)


def test_tensors_have_their_bytes_and_sequences_can_be_at_no_border(read):
    graph = read(
        """(float[n,3] x) => (float[m,3] y)
        <int64 first = {0}>
        {
          a = Neg(x)
          s = SplitToSequence<axis = 0>(a)
          b = SequenceAt(s, first)
          y = Exp(b)
        }""",
        TensorSpec("x", "float32", (Dynamic("n", 1, 8, 16), 3)),
    )
    tensors = {tensor.name: tensor for tensor in graph.tensors}
    assert tensors["a"].size == 8 * 3 * np.dtype(np.float32).itemsize
    assert tensors["s"].spec is None
    assert tensors["b"].spec is not None


def test_a_quantised_tensor_is_dequantised_where_it_is_quantised(read):
    graph = read(
        """(float[2,3] x) => (float[2,3] y)
        <float scale = {0.5}>
        {
          q = QuantizeLinear(x, scale)
          a = DequantizeLinear(q, scale)
          b = DequantizeLinear(q, scale)
          y = Add(a, b)
        }"""
    )
    assert names(graph, graph.together) == ["q a b"]


def test_what_depends_on_no_input_stays_with_what_does(read):
    # a segment of 'r' and 'levelled' alone would have no input
    graph = read(
        """(float[2,3] x) => (float[2,3] y)
        {
          r = RandomUniform<shape = [2, 3]>()
          levelled = Floor(r)
          a = Neg(x)
          b = Add(a, levelled)
          y = Exp(b)
        }"""
    )
    assert names(graph, graph.together) == ["r levelled", "levelled b"]


def test_an_output_that_depends_on_no_input_stays_with_the_first_node_that_does(read):
    graph = read(
        """(float[2,3] x) => (float[2,3] y, float[2,3] z)
        {
          r = RandomUniform<shape = [2, 3]>()
          z = Identity(r)
          a = Neg(x)
          y = Exp(a)
        }"""
    )
    assert names(graph, graph.together) == ["r z", "z a"]
