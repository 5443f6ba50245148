"""Small ONNX graphs for the backends' tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from backends.contract import Segment, TensorSpec

OPSET = 18
Shapes = dict[str, list[int]]


def save(
    path: Path, nodes: list, inputs: Shapes, outputs: Shapes, weights: dict[str, np.ndarray]
) -> Segment:
    """Write a float32 graph and describe it as a segment."""
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    imports = [helper.make_opsetid("", OPSET)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), path)
    return Segment(path.stem, path, specs(inputs), specs(outputs))


def specs(shapes: Shapes) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, "float32", tuple(shape)) for name, shape in shapes.items())


def kernel(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def conv(path: Path) -> Segment:
    """One convolution and a ReLU, with dots in the tensors' names."""
    nodes = [
        helper.make_node("Conv", ["net.image", "w"], ["y"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["y"], ["net.out.0"]),
    ]
    shapes = {"net.image": [1, 3, 8, 12]}, {"net.out.0": [1, 5, 8, 12]}
    return save(path, nodes, *shapes, {"w": kernel(5, 3, 3, 3)})


def two_and_two(path: Path) -> Segment:
    """Two inputs, two outputs of different size."""
    nodes = [
        helper.make_node("Conv", ["a", "w"], ["x"], kernel_shape=[1, 1]),
        helper.make_node("Conv", ["b", "w"], ["y"], kernel_shape=[1, 1]),
        helper.make_node("Concat", ["x", "y"], ["wide"], axis=1),
        helper.make_node("Sub", ["x", "y"], ["difference"]),
    ]
    inputs = {"a": [1, 3, 4, 6], "b": [1, 3, 4, 6]}
    outputs = {"wide": [1, 4, 4, 6], "difference": [1, 2, 4, 6]}
    return save(path, nodes, inputs, outputs, {"w": kernel(2, 3, 1, 1)})


def batch_of_two(path: Path) -> Segment:
    """A fixed batch above one."""
    nodes = [helper.make_node("Conv", ["image", "w"], ["out"], kernel_shape=[3, 3])]
    shapes = {"image": [2, 3, 8, 8]}, {"out": [2, 4, 6, 6]}
    return save(path, nodes, *shapes, {"w": kernel(4, 3, 3, 3)})


def decode(path: Path) -> Segment:
    """What a detector's decoder does: reshape, permute, slice, sigmoid, exp, concat."""
    weights = {
        "w": kernel(12, 3, 1, 1),
        "rows": np.array([1, 2, 6, 20]),
        "flat": np.array([1, 40, 6]),
        "zero": np.array([0]),
        "two": np.array([2]),
        "four": np.array([4]),
        "six": np.array([6]),
        "last": np.array([2]),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["raw"], kernel_shape=[1, 1]),
        helper.make_node("Reshape", ["raw", "rows"], ["split"]),
        helper.make_node("Transpose", ["split"], ["turned"], perm=[0, 3, 1, 2]),
        helper.make_node("Reshape", ["turned", "flat"], ["table"]),
        helper.make_node("Slice", ["table", "zero", "two", "last"], ["xy"]),
        helper.make_node("Slice", ["table", "two", "four", "last"], ["wh"]),
        helper.make_node("Slice", ["table", "four", "six", "last"], ["logits"]),
        helper.make_node("Sigmoid", ["xy"], ["centre"]),
        helper.make_node("Exp", ["wh"], ["size"]),
        helper.make_node("Concat", ["centre", "size"], ["boxes"], axis=2),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
    ]
    shapes = {"image": [1, 3, 4, 5]}, {"boxes": [1, 40, 4], "scores": [1, 40, 2]}
    return save(path, nodes, *shapes, weights)


def mean_over_axes(path: Path) -> Segment:
    """A reduction that gets its axes as an input, as every opset from 18 on writes it."""
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["y"], kernel_shape=[1, 1]),
        helper.make_node("ReduceMean", ["y", "axes"], ["out"], keepdims=0),
    ]
    shapes = {"image": [1, 3, 4, 6]}, {"out": [1, 5]}
    return save(path, nodes, *shapes, {"w": kernel(5, 3, 1, 1), "axes": np.array([2, 3])})


def no_batch(path: Path) -> Segment:
    """Tensors of rank two, whose first axis is no batch."""
    nodes = [helper.make_node("Gemm", ["a", "w"], ["y"]), helper.make_node("Tanh", ["y"], ["out"])]
    return save(path, nodes, {"a": [4, 6]}, {"out": [4, 3]}, {"w": kernel(6, 3)})


GRAPHS: dict[str, Callable[[Path], Segment]] = {
    maker.__name__: maker
    for maker in (conv, two_and_two, batch_of_two, decode, mean_over_axes, no_batch)
}
