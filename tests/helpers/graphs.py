"""Small ONNX graphs for the backends' tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from backends.contract import Dynamic, Segment, TensorSpec
from backends.onnx.specs import read_segment

OPSET = 18
BATCH = Dynamic("batch", 1, 2, 8)
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


def batched(path: Path) -> Segment:
    """A convolution over a batch that varies."""
    nodes = [helper.make_node("Conv", ["image", "w"], ["out"], kernel_shape=[1, 1])]
    shapes = {"image": ["batch", 3, 4, 4]}, {"out": ["batch", 5, 4, 4]}
    segment = save(path, nodes, *shapes, {"w": kernel(5, 3, 1, 1)})
    return replace(
        segment,
        inputs=(replace(segment.inputs[0], shape=(BATCH, 3, 4, 4)),),
        outputs=(replace(segment.outputs[0], shape=(BATCH, 5, 4, 4)),),
    )


def relu(path: Path, batch: Dynamic = BATCH) -> Segment:
    """Any number of rows up to eight."""
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    segment = save(path, nodes, {"x": ["batch", 1024]}, {"y": ["batch", 1024]}, {})
    return replace(
        segment,
        inputs=(replace(segment.inputs[0], shape=(batch, 1024)),),
        outputs=(replace(segment.outputs[0], shape=(batch, 1024)),),
    )


def nonzero(path: Path) -> Segment:
    """How many rows come out depends on what goes in."""
    graph = helper.make_graph(
        [helper.make_node("NonZero", ["x"], ["where"]), helper.make_node("Relu", ["x"], ["y"])],
        "nonzero",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [64])],
        [
            helper.make_tensor_value_info("where", TensorProto.INT64, [1, "found"]),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [64]),
        ],
    )
    imports = [helper.make_opsetid("", OPSET)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), path)
    return read_segment(path, "nonzero", {})


def noise(segment: Segment, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs of a segment at its typical sizes."""
    rng = np.random.default_rng(seed)
    return {s.name: rng.standard_normal(s.typical).astype(s.dtype) for s in segment.inputs}


GRAPHS: dict[str, Callable[[Path], Segment]] = {
    maker.__name__: maker
    for maker in (conv, two_and_two, batch_of_two, decode, mean_over_axes, no_batch)
}
