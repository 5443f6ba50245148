"""The ends of a part of a segment are made such that NumPy and every backend can take them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from backends.contract import Dynamic, Segment, TensorSpec
from backends.onnx.specs import read_segment
from deploy.analysis.accuracy.subgraph_probe import with_fixed_sizes, without_bfloat16

NARROW = """
<ir_version: 10, opset_import: ["" : 22]>
net (bfloat16[2, 3] x, float[2, 3] z) => (bfloat16[2, 3] y, float[2, 3] w) {
    [relu] y = Relu (x)
    [tanh] w = Tanh (z)
}
"""


def segment(path, text) -> Segment:
    onnx.save(onnx.parser.parse_model(text), path)
    shape = (2, 3)
    specs = [TensorSpec(name, "bfloat16", shape) for name in "xy"]
    plain = [TensorSpec(name, "float32", shape) for name in "zw"]
    return Segment("net", path, (specs[0], plain[0]), (specs[1], plain[1]))


def test_bfloat16_ends_become_float32(tmp_path):
    before = segment(tmp_path / "net.onnx", NARROW)
    after = without_bfloat16(before)
    assert [spec.dtype for spec in (*after.inputs, *after.outputs)] == ["float32"] * 4
    assert [spec.name for spec in (*after.inputs, *after.outputs)] == ["x", "z", "y.float32", "w"]
    model = onnx.load(after.onnx)
    onnx.checker.check_model(model, full_check=True)
    assert read_segment(after.onnx, "net", {}) == after
    relu = next(node for node in model.graph.node if node.name == "relu")
    kinds = {node.output[0]: node for node in model.graph.node if node.op_type == "Cast"}
    assert kinds[relu.input[0]].attribute[0].i == TensorProto.BFLOAT16
    x = np.array([[1.00001, -2, 3], [4, 5, 6]], np.float32)
    found = ReferenceEvaluator(model).run(["y.float32"], {"x": x, "z": x})
    np.testing.assert_array_equal(found[0], [[1, 0, 3], [4, 5, 6]])


def test_other_ends_are_left_alone(tmp_path):
    before = segment(tmp_path / "net.onnx", NARROW.replace("bfloat16", "float16"))
    half = tuple(replace(s, dtype=s.dtype.replace("bfloat", "float")) for s in before.inputs)
    plain = replace(before, inputs=half, outputs=half)
    content = plain.onnx.read_bytes()
    assert without_bfloat16(plain) is plain
    assert plain.onnx.read_bytes() == content


def test_sizes_that_nobody_could_infer_are_those_of_the_values(tmp_path):
    text = """
    <ir_version: 10, opset_import: ["" : 18]>
    net (float[2, 3] x, float[?, 3] z) => (float y, float[n, 3] w) {
        y = Relu (x)
        w = Tanh (z)
    }
    """
    path = tmp_path / "net.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    some = Dynamic("n", 0, 1, 9)
    inputs = (TensorSpec("x", "float32", (2, 3)), TensorSpec("z", "float32", (some, 3)))
    outputs = (TensorSpec("y", "float32", None), TensorSpec("w", "float32", (some, 3)))
    values = {name: np.zeros((2, 3), np.float32) for name in "xyzw"}
    after = with_fixed_sizes(Segment("net", path, inputs, outputs), values)
    assert {spec.shape for spec in (*after.inputs, *after.outputs)} == {(2, 3)}
    assert read_segment(path, "net", {}) == after


def test_known_sizes_are_left_alone(tmp_path):
    before = segment(tmp_path / "net.onnx", NARROW)
    assert with_fixed_sizes(before, {}) is before
