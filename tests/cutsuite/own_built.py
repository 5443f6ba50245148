"""Own graphs that ONNX's notation cannot write: sparse and external weights, depth, age."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from backends.contract import Array

_X = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])
_Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])


def sparse() -> onnx.ModelProto:
    """A sparse weight and a sparse constant, both used on both sides; one is indexed by rows."""
    rows = np.array([[0, 1], [1, 2]], np.int64)
    constant = helper.make_node("Constant", [], ["k"], sparse_value=_sparse("k_", np.array([2])))
    nodes = [
        constant,
        helper.make_node("Add", ["x", "w"], ["a"]),
        helper.make_node("Mul", ["a", "k"], ["b"]),
        helper.make_node("Exp", ["b"], ["c"]),
        helper.make_node("Add", ["c", "w"], ["d"]),
        helper.make_node("Sub", ["d", "k"], ["y"]),
    ]
    model = _model(nodes, {})
    model.graph.sparse_initializer.append(_sparse("w", rows))
    return model


def shared_weights() -> onnx.ModelProto:
    """Weights that are large enough to lie beside the graph, one of them used on both sides."""
    draw = np.random.default_rng(0).standard_normal
    weights = {name: draw((3, 600)).astype(np.float32) for name in ("w", "v")}
    weights |= {"back": draw((600, 3)).astype(np.float32), "odd": np.zeros((0, 3), np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "back"], ["b"]),
        helper.make_node("Concat", ["b", "odd"], ["c"], axis=0),
        helper.make_node("MatMul", ["c", "v"], ["d"]),
        helper.make_node("Tanh", ["d"], ["e"]),
        helper.make_node("MatMul", ["e", "back"], ["f"]),
        helper.make_node("Tanh", ["f"], ["y"]),
    ]
    return _model(nodes, weights)


def packed_weights() -> onnx.ModelProto:
    """Weights of four bits each, to lie beside the graph."""
    packed = np.arange(-8, 7, dtype=np.int8).repeat(200).reshape(3, 1000)
    proto = helper.make_tensor("w", TensorProto.INT4, packed.shape, packed.ravel())
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale"], ["k"]),
        helper.make_node("MatMul", ["x", "k"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("ReduceSum", ["b", "axis"], ["c"]),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    model = _model(nodes, {"scale": np.array(0.01, np.float32), "axis": np.array([1])})
    model.graph.initializer.append(proto)
    return model


def weights_that_are_inputs() -> onnx.ModelProto:
    """As in files of format version 3, where every weight is an input too."""
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["a"]),
        helper.make_node("Exp", ["a"], ["b"]),
        helper.make_node("Add", ["b", "w"], ["y"]),
    ]
    model = _model(nodes, {"w": np.array([1, 2, 3], np.float32)}, opset=8)
    model.ir_version = 3
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3]))
    return model


def deep(count: int) -> onnx.ModelProto:
    """A chain of ``count`` nodes, the last of which also takes what the first gives."""
    nodes = [helper.make_node("Neg", ["x"], ["v0"])]
    nodes += [helper.make_node("Neg", [f"v{n}"], [f"v{n + 1}"]) for n in range(count - 2)]
    nodes.append(helper.make_node("Add", [f"v{count - 2}", "v0"], ["y"]))
    return _model(nodes, {})


def open_rank() -> onnx.ModelProto:
    """An input, and what follows from it, without a known number of dimensions."""
    nodes = [
        helper.make_node("Neg", ["x"], ["a"]),
        helper.make_node("Exp", ["a"], ["b"]),
        helper.make_node("Add", ["b", "x"], ["y"]),
    ]
    model = _model(nodes, {})
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.ClearField("shape")
    return model


def known_only_to_onnxruntime() -> onnx.ModelProto:
    """An operation of another domain, whose result's type only the file says."""
    nodes = [
        helper.make_node("Neg", ["x"], ["a"]),
        helper.make_node("QuickGelu", ["a"], ["b"], domain="com.microsoft", alpha=1.5),
        helper.make_node("Exp", ["b"], ["c"]),
        helper.make_node("Add", ["c", "b"], ["y"]),
    ]
    model = _model(nodes, {})
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.value_info.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in ("b", "c")
    )
    return model


def _model(
    nodes: Sequence[onnx.NodeProto], weights: dict[str, Array], opset: int = 21
) -> onnx.ModelProto:
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "built", [_X], [_Y], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def _sparse(name: str, indices: Array) -> onnx.SparseTensorProto:
    """Two by three values, all of them 0 but those at ``indices``, flat or one row for each."""
    values = helper.make_tensor(name, TensorProto.FLOAT, [len(indices)], [3.0, 4.0][: len(indices)])
    places = helper.make_tensor(f"{name}.at", TensorProto.INT64, indices.shape, indices.ravel())
    return helper.make_sparse_tensor(values, places, [2, 3])
