"""What ncnn cannot take is refused by node and tensor; what pnnx crashes on is searched for."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

if "ncnn" not in os.environ.get("DEPLOY_TEST_BACKENDS", "ncnn").split(","):
    pytest.skip("ncnn is not among DEPLOY_TEST_BACKENDS", allow_module_level=True)

from backends.contract import ConversionError
from backends.ncnn import Options
from backends.ncnn.conversion import fault_search
from backends.ncnn.conversion.diagnosis import Cause, Fault, diagnose
from backends.ncnn.conversion.fault_search import find_faulty_nodes
from backends.ncnn.conversion.fixed_graph import FixedGraph
from backends.ncnn.conversion.pnnx import PnnxRun
from backends.ncnn.convert import convert
from backends.onnx.specs import read_segment
from backends.support import RefusedNode
from tests.helpers.graphs import kernel, specs

IMAGE = [1, 4, 8, 8]


def node(operator, inputs, outputs, name="", **attributes):
    return helper.make_node(operator, inputs.split(), outputs.split(), name=name, **attributes)


def model_of(nodes, inputs, outputs, weights, opset=18):
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, s) for name, s in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, s) for name, s in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def refused(folder: Path, nodes, inputs, outputs, weights=None, opset=18) -> str:
    """The error text of a conversion."""
    return str(conversion_error(folder, nodes, inputs, outputs, weights, opset))


def conversion_error(folder: Path, nodes, inputs, outputs, weights=None, opset=18):
    """The error of a conversion; it has no advice that cannot help."""
    model = model_of(nodes, inputs, outputs, weights or {}, opset)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "net.onnx")
    (folder / "out").mkdir()
    with pytest.raises(ConversionError) as caught:
        convert(read_segment(folder / "net.onnx", "net", {}), Options(), folder / "out")
    message = str(caught.value)
    assert "Convert again" not in message and "pnnx.Expression" not in message
    assert "+backend@chain.net=NAME" in message
    return caught.value


def chain(length, at, middle):
    """Convolutions, with other nodes behind one of them."""
    nodes, weights, current = [], {}, "x"
    for number in range(length):
        weights[f"w{number}"] = kernel(4, 4, 3, 3) * 0.1
        nodes.append(
            node("Conv", f"{current} w{number}", f"c{number}", f"conv{number}", pads=[1] * 4)
        )
        current = f"c{number}"
        if number == at:
            nodes += middle(current)
            current = nodes[-1].output[0]
    return nodes, current, weights


def test_a_crash_names_the_node_among_many_and_where_to_cut(tmp_path):
    nodes, last, weights = chain(
        30, 17, lambda current: [node("TopK", f"{current} k", "top at", "best", axis=3)]
    )
    weights["k"] = np.array([8])
    error = conversion_error(tmp_path, nodes, {"x": IMAGE}, {last: IMAGE}, weights)
    message = str(error)
    assert "pnnx, the converter of ncnn, crashed on TopK 'best' (tensor 'top')" in message
    assert "(signal SIGSEGV). Cut at 'c17' and 'top', so that another backend gets it." in message
    reason = "pnnx, the converter of ncnn, crashes on it (signal SIGSEGV)"
    assert error.refused == (RefusedNode("best", "TopK", reason, "top"),)


def test_two_nodes_of_one_kind_are_both_named(tmp_path):
    nodes, last, weights = chain(
        4,
        2,
        lambda current: [
            node("Hardmax", current, "h", "first", axis=3),
            node("Relu", "h", "r"),
            node("Hardmax", "r", "g", "second", axis=3),
        ],
    )
    message = refused(tmp_path, nodes, {"x": IMAGE}, {last: IMAGE}, weights)
    assert (
        "ncnn cannot compute Hardmax 'first' (tensor 'h'), Hardmax 'second' (tensor 'g')" in message
    )
    assert "Cut around them, so that another backend gets that part" in message


def test_all_nodes_are_refused_also_where_the_text_names_four(tmp_path):
    names = [f"h{number}" for number in range(6)]
    nodes = [
        node("Hardmax", source, name, axis=3)
        for source, name in zip(["x", *names], names, strict=False)
    ]
    error = conversion_error(tmp_path, nodes, {"x": IMAGE}, {"h5": IMAGE})
    assert "Hardmax (tensor 'h3') and 2 more" in str(error)
    assert error.refused == tuple(
        RefusedNode(f"number {number}", "Hardmax", "ncnn has no such layer", f"h{number}")
        for number in range(6)
    )


def test_all_nodes_of_wrong_forms_are_refused_each_with_its_reason(tmp_path):
    resizes = [
        helper.make_node("Resize", ["x", "", "s"], ["a"], name="up", mode="linear", antialias=1),
        helper.make_node("Resize", ["a", "", "s"], ["y"], mode="nearest", nearest_mode="floor"),
    ]
    weights = {"s": np.array([1, 1, 2, 2], np.float32)}
    error = conversion_error(tmp_path, resizes, {"x": IMAGE}, {"y": [1, 4, 32, 32]}, weights)
    assert "Resize 'up' (tensor 'a'): it smooths (antialias); Resize (tensor 'y'): " in str(error)
    assert [(item.node, item.output) for item in error.refused] == [("up", "a"), ("number 1", "y")]
    assert error.refused[0].reason == "it smooths (antialias)"
    assert "expected asymmetric for nearest" in error.refused[1].reason


def test_a_node_is_refused_by_the_first_of_its_tensors_that_is_used(tmp_path):
    nodes, last, weights = chain(
        3, 1, lambda current: [node("TopK", f"{current} k", "top at", "best", axis=3)]
    )
    nodes[-1].input[0] = "float_at"
    nodes.insert(-1, node("Cast", "at", "float_at", "cast", to=TensorProto.FLOAT))
    weights["k"] = np.array([8])
    error = conversion_error(tmp_path, nodes, {"x": IMAGE}, {last: IMAGE}, weights)
    topk = error.refused[0]
    assert (topk.node, topk.operator, topk.output) == ("best", "TopK", "at")


def test_of_several_nodes_of_a_type_the_one_that_cannot_be_converted_is_named(tmp_path):
    pair = [
        node("Resize", "x  s", "a", "floor", mode="nearest"),
        node("Resize", "a  s", "y", "ceil", mode="nearest", nearest_mode="ceil"),
    ]
    for item in pair:
        del item.input[:]
    pair[0].input.extend(["x", "", "s"])
    pair[1].input.extend(["a", "", "s"])
    scales = {"s": np.array([1, 1, 2, 2], np.float32)}
    message = refused(tmp_path, pair, {"x": IMAGE}, {"y": [1, 4, 32, 32]}, scales)
    assert "ncnn cannot compute Resize 'ceil' (tensor 'y'). Cut at 'a'" in message


def test_what_the_converter_calls_otherwise_is_named_as_the_user_calls_it(tmp_path):
    nodes = [
        node("Relu", "x", "r"),
        node("Greater", "r half", "is_large", "compare"),
        node("Where", "is_large r half", "y", "choose"),
    ]
    message = refused(tmp_path, nodes, {"x": IMAGE}, {"y": IMAGE}, {"half": np.float32(0.5)})
    assert "ncnn cannot compute Greater 'compare' (tensor 'is_large'), Where 'choose'" in message
    assert "torch." not in message and "attn_implementation" not in message


def test_the_guard_of_attention_over_another_axis_hints_at_eager_attention(tmp_path):
    nodes = [
        node("MatMul", "q k", "s"),
        node("Add", "s mask", "sm"),
        node("Softmax", "sm", "p", axis=2),
        node("IsNaN", "p", "nan", "isnan"),
        node("Where", "nan zero p", "y", "guard"),
    ]
    inputs = {"q": [1, 2, 6, 8], "k": [1, 2, 8, 6], "mask": [1, 1, 6, 6]}
    message = refused(tmp_path, nodes, inputs, {"y": [1, 2, 6, 6]}, {"zero": np.float32(0)})
    assert "IsNaN 'isnan' (tensor 'nan'), Where 'guard' (tensor 'y')" in message
    assert "build the model with attn_implementation: eager" in message


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "message"),
    [
        (
            "Resize",
            ["x", "", "s"],
            {"mode": "linear", "coordinate_transformation_mode": "asymmetric"},
            "expected half_pixel or align_corners, got asymmetric",
        ),
        ("Resize", ["x", "", "s"], {"mode": "linear", "antialias": 1}, "it smooths (antialias)"),
        (
            "Resize",
            ["x", "", "s"],
            {"mode": "nearest", "nearest_mode": "floor"},
            "expected asymmetric for nearest, got half_pixel",
        ),
    ],
)
def test_a_resize_that_would_be_another_one_is_refused(
    tmp_path, operator, inputs, attributes, message
):
    resize = helper.make_node(operator, inputs, ["y"], name="up", **attributes)
    weights = {"s": np.array([1, 1, 2, 2], np.float32)}
    text = refused(tmp_path, [resize], {"x": IMAGE}, {"y": [1, 4, 16, 16]}, weights)
    assert "ncnn cannot compute Resize 'up' (tensor 'y'): " in text and message in text


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"mode": "nearest"}, "mode: expected linear, got nearest"),
        ({"mode": "bicubic"}, "mode: expected linear, got bicubic"),
        ({"padding_mode": "reflection"}, "expected zeros or border, got reflection"),
    ],
)
def test_a_grid_sample_that_would_be_another_one_is_refused(tmp_path, form, message):
    sample = helper.make_node("GridSample", ["x", "grid"], ["y"], name="warp", **form)
    inputs = {"x": IMAGE, "grid": [1, 5, 5, 2]}
    text = refused(tmp_path, [sample], inputs, {"y": [1, 4, 5, 5]}, opset=16)
    assert "ncnn cannot compute GridSample 'warp' (tensor 'y'): " in text and message in text


def gru(rows, state, before):
    names = ["x", "w", "r", "b", "", "h"] if state else ["x", "w", "r", "b"]
    layer = helper.make_node(
        "GRU", names, ["y"], name="memory", hidden_size=4, linear_before_reset=before
    )
    inputs = {"x": [5, rows, 3], **({"h": [1, rows, 4]} if state else {})}
    weights = {"w": kernel(1, 12, 3), "r": kernel(1, 12, 4), "b": kernel(1, 24)}
    return [layer], inputs, {"y": [5, 1, rows, 4]}, weights


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (gru(2, True, 1), "it has 2 rows, and ncnn keeps one state ('h') for all"),
        (gru(1, False, 0), "linear_before_reset: expected 1, got 0"),
    ],
)
def test_a_recurrent_layer_that_ncnn_computes_otherwise_is_refused(tmp_path, layer, message):
    text = refused(tmp_path, *layer)
    assert "ncnn cannot compute GRU 'memory' (tensor 'y')" in text and message in text


def test_a_net_that_does_not_fit_itself_is_the_fault_of_a_node(tmp_path):
    resize = helper.make_node("Resize", ["r", "", "s"], ["y"], name="up", mode="linear")
    nodes = [node("Relu", "x", "r"), resize]
    shapes = {"x": [1, 4, 4, 8, 8]}, {"y": [1, 4, 8, 16, 16]}
    message = refused(tmp_path, nodes, *shapes, {"s": np.array([1, 1, 2, 2, 2], np.float32)})
    assert "ncnn cannot compute Resize 'up' (tensor 'y')" in message
    assert "(the rank of its input: expected 1 to 3, got 4)" in message


def fixed_chain():
    nodes, last, weights = chain(
        16, 9, lambda current: [node("TopK", f"{current} k", "top at", "best", axis=3)]
    )
    weights["k"] = np.array([8])
    return FixedGraph(model_of(nodes, {"x": IMAGE}, {last: IMAGE}, weights), {"x": (1, 4, 8, 8)})


@pytest.mark.parametrize("bound", [{"max_tries": 1}, {"max_seconds": 0.0}])
def test_the_search_ends_within_its_bounds(bound):
    found = find_faulty_nodes(fixed_chain(), Fault(Cause.CRASH), **bound)
    assert not found.complete and found.origins == ()
    assert found.tries <= bound.get("max_tries", 0)


def test_a_search_without_a_result_says_how_much_it_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "backends.ncnn.conversion.refusals.find_faulty_nodes",
        lambda graph, fault: find_faulty_nodes(graph, fault, max_tries=1),
    )
    nodes, last, weights = chain(
        6, 3, lambda current: [node("TopK", f"{current} k", "top at", "best", axis=3)]
    )
    weights["k"] = np.array([8])
    message = refused(tmp_path, nodes, {"x": IMAGE}, {last: IMAGE}, weights)
    assert "crashed (signal SIGSEGV); 1 smaller parts of it do not show where" in message


def test_a_fault_that_shows_in_context_alone_is_found_by_bisection(monkeypatch):
    """No node is wrong on its own; whatever contains the tensor c9 and its product is."""
    graph = fixed_chain()

    def only_together(run, inputs, outputs):
        model = onnx.load(run.folder / "segment.onnx")
        names = {item.name for item in model.graph.node}
        return Fault(Cause.CRASH) if {"conv8", "conv9"} <= names and len(inputs) == 1 else None

    monkeypatch.setattr(fault_search, "diagnose", only_together)
    monkeypatch.setattr(
        fault_search, "run_pnnx", lambda model, shapes, folder, seconds: saved(model, folder)
    )
    found = find_faulty_nodes(graph, Fault(Cause.CRASH))
    assert [str(origin) for origin in found.origins] == ["Conv 'conv9' (tensor 'c9')"]
    assert not found.alone and found.complete


def saved(model, folder):
    onnx.save(model, folder / "segment.onnx")
    return PnnxRun(folder, "", "")


def test_a_lost_output_is_told_from_a_crash(tmp_path):
    (tmp_path / "model.ncnn.param").write_text(
        "7767517\n2 2\nInput in0 0 1 in0\nReLU relu 1 1 in0 out0\n"
    )
    (tmp_path / "model.ncnn.bin").write_bytes(bytes(4))
    (tmp_path / "model_ncnn.py").write_text("in0.numpy(), batch_index=0\n")
    one = specs({"x": IMAGE})
    assert diagnose(PnnxRun(tmp_path, "", ""), one, one) == Fault(Cause.LOST_TENSOR)
    assert diagnose(PnnxRun(tmp_path, "signal SIGSEGV", ""), one, one) == Fault(
        Cause.CRASH, reason="signal SIGSEGV"
    )
