"""What ncnn takes of a segment: by types and forms, and by trials of each kind of node."""

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

if "ncnn" not in os.environ.get("DEPLOY_TEST_BACKENDS", "ncnn").split(","):
    pytest.skip("ncnn is not among DEPLOY_TEST_BACKENDS", allow_module_level=True)

from backends.contract import Dynamic, EngineError, Segment, TensorSpec
from backends.ncnn import ABOUT, Options
from backends.ncnn import support as parent
from backends.ncnn.conversion import node_trials, numeric_trials
from backends.ncnn.conversion.fixed_graph import FixedGraph
from backends.ncnn.conversion.node_trials import try_nodes
from backends.ncnn.conversion.numeric_trials import wrong_nodes
from backends.ncnn.conversion.pieces import Piece, signature
from backends.ncnn.conversion.pnnx import SCRIPT, PnnxRun
from backends.ncnn.conversion.rewrites import rewrite_graph
from backends.ncnn.conversion.unsupported import unsupported_nodes
from backends.onnx.specs import read_segment
from backends.process import support_query
from tests.helpers.graphs import kernel

IMAGE = [1, 4, 8, 8]


def node(operator, inputs, outputs, name="", **attributes):
    return helper.make_node(operator, inputs, outputs, name=name, **attributes)


def model_of(nodes, inputs, outputs, weights=None, types=None):
    def value(name, shape):
        return helper.make_tensor_value_info(
            name, (types or {}).get(name, TensorProto.FLOAT), shape
        )

    graph = helper.make_graph(
        nodes,
        "net",
        [value(name, shape) for name, shape in inputs.items()],
        [value(name, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in (weights or {}).items()],
    )
    graph.value_info.append(value("odd", [2, 3]))
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def fixed(nodes, inputs, outputs, weights=None, types=None) -> FixedGraph:
    model = model_of(nodes, inputs, outputs, weights, types)
    graph = FixedGraph(model, {name: tuple(shape) for name, shape in inputs.items()})
    rewrite_graph(graph)
    return graph


def reasons(graph: FixedGraph) -> dict[str, str]:
    """Why nodes are refused, by their first tensors."""
    return {origin.outputs[0]: reason for origin, reason in unsupported_nodes(graph).items()}


def segment_of(path: Path, *parts) -> Segment:
    onnx.save(model_of(*parts), path)
    ranges = {name: Dynamic(name, 1, 4, 16) for name in ("rows", "height")}
    return read_segment(path, "net", ranges)


def test_nodes_of_all_kinds_are_taken_or_refused_with_a_reason_each(tmp_path):
    nodes = [
        node("Conv", ["x", "w"], ["c"], "conv", pads=[1] * 4),
        node("Hardmax", ["c"], ["h"], "hardmax", axis=3),
        node("Relu", ["h"], ["r"], "relu"),
        node("AveragePool", ["r"], ["p"], "pool", kernel_shape=[3, 3], auto_pad="SAME_UPPER"),
        node("Hardmax", ["p"], ["y"], axis=3),
        node("Greater", ["p", "zero"], ["mask"], "compare"),
    ]
    weights = {"w": kernel(4, 4, 3, 3), "zero": np.float32(0)}
    types = {"mask": TensorProto.BOOL}
    segment = segment_of(
        tmp_path / "net.onnx", nodes, {"x": IMAGE}, {"y": IMAGE, "mask": IMAGE}, weights, types
    )
    answer = ABOUT.support(segment, Options())
    assert answer.unknown == "" and answer.nodes == 6
    assert answer.parser.startswith("ncnn's converter pnnx 2")
    refused = {item.output: (item.node, item.operator, item.reason) for item in answer.refused}
    assert list(refused) == ["h", "p", "y", "mask"], "the nodes are not in the order of the graph"
    assert refused["h"] == ("hardmax", "Hardmax", "ncnn has no such layer")
    assert refused["y"] == ("number 4", "Hardmax", "ncnn has no such layer")
    assert refused["p"][2].startswith("ncnn computes other numbers on a sample (max_rel 0.")
    assert refused["mask"][2] == "ncnn computes with float32, and its output 'mask' is bool"


def test_what_rewrites_remove_is_not_refused():
    """The guard of a softmax, and sizes that are computed from a shape."""
    nodes = [
        node("MatMul", ["q", "k"], ["s"]),
        node("Softmax", ["s"], ["p"], axis=-1),
        node("IsNaN", ["p"], ["nan"]),
        node("Where", ["nan", "zero", "p"], ["g"]),
        node("Shape", ["g"], ["sizes"]),
        node("Gather", ["sizes", "at"], ["rows"]),
        node("Concat", ["rows", "rest"], ["new"], axis=0),
        node("Reshape", ["g", "new"], ["y"]),
    ]
    inputs = {"q": [1, 2, 6, 8], "k": [1, 2, 8, 6]}
    weights = {"zero": np.float32(0), "at": np.array([0]), "rest": np.array([-1])}
    assert reasons(fixed(nodes, inputs, {"y": [1, 72]}, weights)) == {}


def test_what_must_not_reach_ncnn_is_refused_without_a_trial():
    branch = helper.make_graph(
        [node("Abs", ["i"], ["a"])], "then", [], [helper.make_value_info("a", onnx.TypeProto())]
    )
    nodes = [
        node("Cast", ["ids"], ["i"], to=TensorProto.FLOAT),
        node("If", ["ok"], ["f"], then_branch=branch, else_branch=branch),
        node("NonZero", ["i"], ["at"]),
        node("Cast", ["at"], ["z"], to=TensorProto.FLOAT),
        node("Odd", ["i"], ["odd"], domain="com.example"),
        node("Abs", ["odd"], ["after"]),
        node("Resize", ["x", "", "scales"], ["up"], mode="linear", antialias=1),
        node("Slice", ["x", "start", "end"], ["none"]),
        node("Relu", ["x"], ["fine"]),
    ]
    inputs, types = {"ids": [2, 3], "ok": [], "x": IMAGE}, {"ids": 7, "ok": 9}
    weights = {
        "scales": np.array([1, 1, 2, 2], np.float32),
        "start": np.array([0, 4]),
        "end": np.array([1, 4]),
    }
    outputs = dict.fromkeys(("f", "z", "after", "up", "none", "fine"))
    assert reasons(fixed(nodes, inputs, outputs, weights, types)) == {
        "i": "ncnn computes with float32, and its input 'ids' is int64",
        "f": "it holds a graph of its own, and ncnn has no control flow",
        "at": "ncnn computes with float32, and its output 'at' is int64",
        "z": "ncnn computes with float32, and its input 'at' is int64",
        "odd": "ncnn has no operators of the domain 'com.example'",
        "up": "it smooths (antialias)",
        "none": "its output 'none' is empty",
    }


def test_a_tensor_of_unknown_size_is_refused():
    nodes = [
        node("Cast", ["x"], ["count"], to=TensorProto.INT64),
        node("Expand", ["y", "count"], ["z"]),
        node("Relu", ["z"], ["r"]),
    ]
    found = reasons(fixed(nodes, {"x": [1], "y": [1]}, {"r": None}))
    assert "'count' is int64" in found["count"] and "'count' is int64" in found["z"]
    assert found["r"] == "the size of its input 'z' is not known before it runs"


def test_weights_that_are_computed_are_weights_in_a_trial():
    """Also large ones: a convolution's weights are no input of its piece."""
    nodes = [
        node("DequantizeLinear", ["v", "g"], ["w"]),
        node("Conv", ["x", "w"], ["c"], pads=[1] * 4),
        node("Conv", ["c", "w"], ["y"], pads=[1] * 4),
    ]
    weights = {"g": np.float32(0.1), "v": kernel(32, 32, 3, 3).astype(np.int8)}
    graph = fixed(nodes, {"x": [1, 32, 8, 8]}, {"y": [1, 32, 8, 8]}, weights)
    piece = Piece.apart(graph, [1, 2])
    assert [spec.name for spec in piece.inputs] == ["1:x", "2:c"]
    assert [spec.name for spec in piece.outputs] == ["1:c", "2:y"]
    assert [item.op_type for item in piece.model.graph.node] == ["DequantizeLinear", "Conv", "Conv"]
    onnx.checker.check_model(piece.model)


def test_nodes_that_differ_in_a_small_constant_are_tried_apart():
    nodes = [
        node("Pow", ["x", "two"], ["a"]),
        node("Pow", ["a", "half"], ["b"]),
        node("Pow", ["b", "two"], ["y"]),
    ]
    graph = fixed(
        nodes,
        {"x": IMAGE},
        {"y": IMAGE},
        {"two": np.float32(2), "half": np.float32(0.5)},
    )
    first, second, third = (signature(graph, item) for item in graph.model.graph.node)
    assert first != second and first == third


def crashing(monkeypatch, numbers):
    """Let pnnx crash on some nodes of 16; the runs that are tried are listed."""
    runs = []

    def not_taken(trials, tried, compare=False):
        trials.runs += 1
        runs.append((list(tried), compare))
        faulty = [number for number in tried if number in numbers]
        if faulty and len(tried) == 1:
            return {tried[0]: "it crashes"}
        return None if faulty else {}

    monkeypatch.setattr(node_trials._Trials, "_not_taken", not_taken)
    nodes, current = [], "x"
    for number in range(16):
        nodes.append(node("LeakyRelu", [current], [f"y{number}"], alpha=0.1 + number))
        current = f"y{number}"
    return runs, fixed(nodes, {"x": IMAGE}, {current: IMAGE})


@pytest.mark.parametrize(("faulty", "most"), [((), 1), ((5,), 9), ((0, 15), 19), ((6, 7), 10)])
def test_nodes_that_crash_pnnx_are_found_by_halves(faulty, most, monkeypatch):
    runs, graph = crashing(monkeypatch, faulty)
    result = try_nodes(graph, range(16))
    assert result.refused == dict.fromkeys(faulty, "it crashes") and result.complete
    assert result.runs == len(runs) <= most
    last, is_compared = runs[-1]
    assert is_compared and set(last) == set(range(16)) - set(faulty)


@pytest.mark.parametrize(("has_another", "last"), [(False, [0]), (True, [1, 0])])
def test_what_stems_from_a_refused_node_is_not_tried_again(has_another, last, monkeypatch):
    """A sum of squares becomes a product and a sum; such a product elsewhere is tried."""
    runs, _ = crashing(monkeypatch, (2,))
    nodes = [node("Relu", ["x"], ["r"]), node("ReduceSumSquare", ["r", "axes"], ["s"])]
    if has_another:
        nodes.append(node("Mul", ["r", "r"], ["m"]))
    outputs = {"s": [1, 4, 1, 1]} | ({"m": IMAGE} if has_another else {})
    graph = fixed(nodes, {"x": IMAGE}, outputs, {"axes": np.array([2, 3])})
    operators = [item.op_type for item in graph.model.graph.node]
    assert operators[:3] == ["Relu", "Mul", "ReduceSum"]
    assert try_nodes(graph, range(len(operators))).refused == {2: "it crashes"}
    assert runs[-1] == (last, True)


def test_what_there_is_no_time_to_try_is_not_refused():
    graph = fixed([node("Hardmax", ["x"], ["y"])], {"x": IMAGE}, {"y": IMAGE})
    result = try_nodes(graph, [0], max_seconds=0)
    assert result == node_trials.TrialResult({}, 0, complete=False)


def pnnx_run(folder: Path) -> PnnxRun:
    (folder / SCRIPT).write_text("")
    return PnnxRun(folder, "", "")


def test_a_node_that_crashes_ncnn_is_refused_and_the_rest_is_tried_again(tmp_path, monkeypatch):
    answers = iter([([3, "", 5], "signal SIGSEGV"), ([7, "wrong", 9], "signal SIGBUS"), ([], "")])

    def run_limited(command, limits, output):
        lines, failure = next(answers)
        with (tmp_path / "numeric_trials.jsonl").open("a") as file:
            file.writelines(f"{json.dumps(line)}\n" for line in lines)
        return failure

    monkeypatch.setattr(numeric_trials, "run_limited", run_limited)
    wrong = wrong_nodes(pnnx_run(tmp_path), Piece(onnx.ModelProto(), (), ()), 60)
    assert wrong == {5: "ncnn crashes on it", 7: "wrong", 9: "ncnn crashes on it"}


def test_a_node_that_is_not_compared_in_time_is_not_refused(tmp_path, monkeypatch):
    def run_limited(command, limits, output):
        (tmp_path / "numeric_trials.jsonl").write_text('3\n"wrong"\n5\n')
        return "no end within 5 s"

    monkeypatch.setattr(numeric_trials, "run_limited", run_limited)
    wrong = wrong_nodes(pnnx_run(tmp_path), Piece(onnx.ModelProto(), (), ()), 60)
    assert wrong == {3: "wrong"}


class FakeRunner:
    def __init__(self, scale):
        self.scale = scale

    def compute(self, inputs, outputs):
        if self.scale is None:
            raise EngineError("no")
        return {"0:y": np.log(inputs["0:x"]) * np.float32(self.scale)}


@pytest.mark.parametrize(
    ("scale", "reason"),
    [
        (1, ""),
        (1.5, "ncnn computes other numbers on a sample (max_rel 0.5)"),
        (None, "ncnn cannot compute it"),
    ],
)
def test_a_node_is_compared_where_the_reference_is_finite(scale, reason):
    """A logarithm needs positive numbers."""
    model = model_of([node("Log", ["0:x"], ["0:y"])], {"0:x": [2, 3]}, {"0:y": [2, 3]})
    specs = [TensorSpec(name, "float32", (2, 3)) for name in ("0:x", "0:y")]
    tried = numeric_trials._Node(0, model, specs[:1], specs[1:])
    ((inputs, expected),) = numeric_trials._samples(tried)
    assert (inputs["0:x"] > 0).all() and np.isfinite(expected["0:y"]).all()
    assert numeric_trials._verdict(FakeRunner(scale), inputs, expected) == reason


def test_a_node_is_also_compared_at_halves_and_zeros():
    """Where rules of rounding differ."""
    model = model_of([node("Round", ["0:x"], ["0:y"])], {"0:x": [8, 8]}, {"0:y": [8, 8]})
    specs = [TensorSpec(name, "float32", (8, 8)) for name in ("0:x", "0:y")]
    noise, lattice = numeric_trials._samples(numeric_trials._Node(0, model, specs[:1], specs[1:]))
    half_up = [np.floor(inputs["0:x"] + 0.5) for inputs, _ in (noise, lattice)]
    assert np.array_equal(half_up[0], noise[1]["0:y"])
    assert not np.array_equal(half_up[1], lattice[1]["0:y"])


def test_a_size_that_varies_refuses_the_whole_graph(tmp_path):
    segment = segment_of(
        tmp_path / "net.onnx",
        [node("Relu", ["x"], ["y"])],
        {"x": [1, 3, "height", 8]},
        {"y": [1, 3, "height", 8]},
    )
    (refused,) = ABOUT.support(segment, Options()).refused
    assert (refused.node, refused.output) == ("", "")
    assert refused.reason.startswith(
        "its files are of fixed shape, but for the number of rows: 'x'"
    )


def test_where_the_number_of_rows_varies_one_row_is_tried(tmp_path):
    segment = segment_of(
        tmp_path / "net.onnx",
        [node("Relu", ["x"], ["h"]), node("CumSum", ["h", "axis"], ["y"])],
        {"x": ["rows", 3]},
        {"y": ["rows", 3]},
        {"axis": np.array(1)},
    )
    answer = ABOUT.support(segment, Options())
    assert [refused.operator for refused in answer.refused] == ["CumSum"]


def test_a_trial_that_crashes_is_no_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(support_query, "run_limited", lambda *_: "signal SIGKILL")
    segment = segment_of(
        tmp_path / "net.onnx", [node("Relu", ["x"], ["y"])], {"x": [1]}, {"y": [1]}
    )
    answer = ABOUT.support(segment, Options())
    assert answer.unknown == "ncnn's converter pnnx ended with signal SIGKILL"


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(parent, "find_spec", lambda name: None if name == "pnnx" else True)
    segment = segment_of(
        tmp_path / "net.onnx", [node("Relu", ["x"], ["y"])], {"x": [1]}, {"y": [1]}
    )
    answer = ABOUT.support(segment, Options())
    assert answer.unknown.startswith("pnnx not installed here. Run in the repository: pip install")
    assert list(answer.lines("net")) == [f"net: not asked: {answer.unknown}"]
