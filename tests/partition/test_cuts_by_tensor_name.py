"""Cuts across a model without marks, at tensors by their names."""

from __future__ import annotations

from dataclasses import replace

import onnx
import pytest

from backends.contract import TensorSpec
from deploy.graph.exported import Exported
from deploy.partition.cut_points import Cut, PartitionError
from deploy.partition.segments import partition
from tests.helpers.chains import mark_of
from tests.helpers.cuts_across import (
    assert_refused,
    cut_across_and_compare,
    outputs_of,
    text_model,
)


def by_name(folder, inputs, outputs, *body, **more):
    exported = text_model(folder, inputs, outputs, *body, **more)
    return replace(exported, by_name=True, marks=())


IF = """y = If(c) <
    then_branch = yes () => (float[2,3] p) { inside = Neg(a) p = Relu(inside) },
    else_branch = no () => (float[2,3] q) { q = Identity(a) }
  >"""

LOOP = """y = Loop(n, c, a) <
    body = step (int64 i, bool go, float[2,3] v) => (bool more, float[2,3] w)
      { more = Identity(go) inside = Neg(v) w = Relu(inside) }
  >"""

SCAN = """y = Scan <num_scan_inputs = 1,
    body = step (float[3] v) => (float[3] w) { inside = Neg(v) w = Relu(inside) }
  > (a)"""

TWICE = """<domain: "custom", opset_import: ["" : 20]>
  Twice (p) => (q) { inside = Neg(p) q = Add(p, inside) }"""

CONTROL = {
    "If": ("x,bool c", IF, ""),
    "Loop": ("x,int64 n,bool c", LOOP, ""),
    "Scan": ("x", SCAN, ""),
    "function 'custom::Twice'": ("x", "y = custom.Twice(a)", TWICE),
}


@pytest.mark.parametrize("of", ["If", "Loop", "Scan"])
def test_a_tensor_inside_a_body_is_refused_with_the_operation(tmp_path, of):
    inputs, node, functions = CONTROL[of]
    exported = by_name(tmp_path, inputs, "y", "a = Neg(x)", node, functions=functions)
    message = rf"'inside' in the {{}} lies inside the body of {of}.*Cut before or after"
    assert_refused(exported, tmp_path, message.format(r"cut at \[inside\]"), ["inside"])
    for cut in (Cut("s", ["inside"], ["y"]), Cut("s", ["x"], ["inside"])):
        with pytest.raises(PartitionError, match=message.format(".* of segment 's'")):
            partition(exported, [cut], tmp_path)
    assert outputs_of(partition(exported, [], tmp_path, across=[["a"]])) == [["a"], ["y"]]


def test_a_tensor_inside_a_function_is_a_cut_point(tmp_path):
    inputs, node, functions = CONTROL["function 'custom::Twice'"]
    exported = by_name(tmp_path, inputs, "y", "a = Neg(x)", node, functions=functions)
    segments = partition(exported, [], tmp_path, across=[["a", "inside"]])
    assert outputs_of(segments) == [["a", "inside"], ["y"]]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("of", CONTROL)
def test_a_mark_inside_a_body_is_refused_with_the_operation(tmp_path, of, named):
    inputs, node, functions = CONTROL[of]
    node, functions = (
        text.replace("inside = Neg(v)", mark_of("inside", "deep", "v"))
        .replace("inside = Neg(a)", mark_of("inside", "deep", "a"))
        .replace("inside = Neg(p)", mark_of("inside", "deep", "p"))
        .replace('[""', '["deploy" : 1, ""')
        for text in (node, functions)
    )
    body = ["b = Neg(x)", mark_of("a", "top", "b"), node]
    exported = text_model(tmp_path, inputs, "y", *body, functions=functions)
    exported = replace(exported, by_name=named)
    message = rf"'deep:output.*' in the .* lies inside the body of {of}"
    for point in ("deep:output", "deep:output.deep"):
        assert_refused(exported, tmp_path, message, [point])
        with pytest.raises(PartitionError, match=message):
            partition(exported, [Cut("s", [point], ["y"])], tmp_path)
    cutting = partition(exported, [], tmp_path, across=[["top"]])
    assert outputs_of(cutting) == [["top"], ["y"]]
    for segment in cutting.segments:
        onnx.checker.check_model(str(segment.onnx))
        assert "deploy" not in {entry.domain for entry in onnx.load(segment.onnx).opset_import}


def test_an_unknown_tensor_is_refused_with_the_nearest(tmp_path):
    exported = by_name(tmp_path, "x", "y", "hidden = Neg(x)", "y = Relu(hidden)")
    message = r"unknown tensor 'hiden' in the {}: .*got none of that name. Did you mean hidden\?"
    assert_refused(exported, tmp_path, message.format(r"cut at \[hiden\]"), ["hiden"])
    with pytest.raises(PartitionError, match=message.format("end of segment 's'")):
        partition(exported, [Cut("s", ["x"], ["hiden"])], tmp_path)
    with pytest.raises(PartitionError, match=r"unknown tensor 'hidden:0' in the start.*n hidden\?"):
        partition(exported, [Cut("s", ["hidden:0"], ["y"])], tmp_path)


def test_tensors_of_any_name_are_places(tmp_path):
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(
            [
                onnx.helper.make_node("Neg", ["x"], ["/a/b:0 [1]"]),
                onnx.helper.make_node("Relu", ["/a/b:0 [1]"], ["y"]),
            ],
            "g",
            [onnx.helper.make_tensor_value_info("x", 1, [2, 3])],
            [onnx.helper.make_tensor_value_info("y", 1, [2, 3])],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.save(proto, tmp_path / "odd.onnx")
    exported = Exported(tmp_path / "odd.onnx", (TensorSpec("x", "float32", (2, 3)),), by_name=True)
    assert outputs_of(cut_across_and_compare(exported, tmp_path, ["/a/b:0 [1]"])) == [
        ["/a/b:0 [1]"],
        ["y"],
    ]


def test_what_is_no_tensor_is_refused_by_name(tmp_path):
    body = ["s = SequenceConstruct(x, x)", "n = SequenceLength(s)", "f = Cast<to = 1>(n)"]
    exported = by_name(tmp_path, "x", "y", *body, "y = Mul(x, f)")
    assert_refused(
        exported,
        tmp_path,
        r"value 's' cannot cross a border: expected a tensor of numbers, got a sequence",
        ["s"],
    )
    cut_across_and_compare(exported, tmp_path, ["n"])
    body = ["o = Optional(x)", "y = OptionalGetElement(o)"]
    exported = by_name(tmp_path, "x", "y", *body)
    assert_refused(
        exported, tmp_path, r"value 'o' cannot cross a border: .*got an optional value", ["o"]
    )
