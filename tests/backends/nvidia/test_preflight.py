"""What NVIDIA's own parser says of a file, asked without a GPU; the real library."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from onnx import TensorProto, helper, parser, save

from backends.contract import Segment
from backends.nvidia import preflight
from backends.process import support_query
from backends.registry import about
from backends.support import RefusedNode, Support
from tests.helpers.commands import run_process

if "tensorrt_rtx" not in os.environ.get("DEPLOY_TEST_BACKENDS", "tensorrt_rtx").split(","):
    pytest.skip("tensorrt_rtx is not among DEPLOY_TEST_BACKENDS", allow_module_level=True)

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _without_doubles(monkeypatch):
    """The children get NVIDIA's library, and no GPU."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("SIM_CUDA_DEVICES", "")


@pytest.fixture
def half_taken(tmp_path: Path) -> Path:
    """A model with two nodes that no NVIDIA parser takes, one of them without a name."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="relu"),
        helper.make_node("Filter", ["a"], ["b"], name="filter", domain="acme"),
        helper.make_node("Sigmoid", ["b"], ["y"], name="sigmoid"),
        helper.make_node("Tanh", ["x"], ["z"], name="tanh"),
        helper.make_node("Det", ["x"], ["volume"]),
    ]
    tensors = {"x": [4, 4], "y": [4, 4], "z": [4, 4], "volume": []}
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in tensors.items()
    ]
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)]
    graph = helper.make_graph(nodes, "graph", infos[:1], infos[1:])
    save(helper.make_model(graph, opset_imports=domains, ir_version=8), tmp_path / "half.onnx")
    return tmp_path / "half.onnx"


def parsed(tmp_path: Path, graph: str) -> Path:
    header = '<ir_version: 10, opset_import: ["" : 21, "acme" : 1, "local" : 1]>\n'
    save(parser.parse_model(header + graph), tmp_path / "graph.onnx")
    return tmp_path / "graph.onnx"


def segment_of(path: Path) -> Segment:
    return Segment("head", path, (), ())


def test_refused_nodes_have_nvidias_reasons_and_the_others_their_subgraphs(half_taken):
    support = preflight.parser_support(segment_of(half_taken), None)
    assert support.parser.startswith("the parser of TensorRT for RTX 1.")
    assert (support.nodes, support.unknown) == (5, "")
    custom, determinant = support.refused
    assert (custom.node, custom.operator) == ("filter", "Filter")
    assert "Plugin not found" in custom.reason
    assert determinant == RefusedNode("number 4", "Det", "refused by checkDet", "volume")
    assert custom.output == "b"
    assert support.groups == (("relu",), ("sigmoid", "tanh"))


def test_nodes_behind_a_refused_one_are_asked_about_too(tmp_path):
    """The parser stops at the first node that it cannot import."""
    path = parsed(
        tmp_path,
        """g (float[4, 4] x, int64[1] axis) => (float[4, 1] sum, int64[2, n] where, float[4, 4] y) {
            sum = ReduceSum (x, axis)
            ready = Relu (sum)
            where = NonZero (ready)
            y = Relu (x)
        }""",
    )
    support = preflight.parser_support(segment_of(path), None)
    assert [(node.operator, node.output) for node in support.refused] == [
        ("ReduceSum", "sum"),
        ("NonZero", "where"),
    ]
    assert "must resolve to a build-time constant" in support.refused[0].reason


def test_a_node_with_a_refused_one_inside_is_refused_and_says_which(tmp_path):
    path = parsed(
        tmp_path,
        """g (float[4, 4] x, bool yes) => (float[4, 4] y, float[4, 4] z, float[4, 4] w) {
            y = If (yes) <
                then_branch = yes () => (float[4, 4] a) { [inner] a = acme.Filter (x) },
                else_branch = no () => (float[4, 4] b) { b = Relu (x) }>
            z = local.Unknown (x)
            w = local.Known (x)
        }
        <domain: "local", opset_import: ["" : 21, "acme" : 1]>
        Unknown (p) => (q) { k = Relu (p) q = acme.Filter (k) }
        <domain: "local", opset_import: ["" : 21]> Known (p) => (q) { k = Relu (p) q = Exp (k) }
        """,
    )
    conditional, function = preflight.parser_support(segment_of(path), None).refused
    assert (conditional.operator, conditional.output) == ("If", "y")
    assert conditional.reason.startswith("Filter 'inner' in it: ")
    assert (function.operator, function.output) == ("Unknown", "z")


def test_what_the_converter_refuses_after_the_parser_is_refused(tmp_path):
    path = parsed(
        tmp_path,
        """g (float[2, 3, 2] x, float[1, 4, 2] w, float[1, 4, 4] r, int64[2] sizes)
            => (float[2, 1, 4] last, float[a, b] y) {
            rnn, last = RNN <hidden_size = 4, layout = 1> (x, w, r)
            y = Reshape (x, sizes)
        }""",
    )
    rnn, reshape = preflight.parser_support(segment_of(path), None).refused
    assert (rnn.operator, rnn.output) == ("RNN", "rnn")
    assert "'last': expected its shape [2, 1, 4], got [1, 3, 4]" in rnn.reason
    assert reshape == RefusedNode(
        "number 1", "Reshape", "the values of input 'sizes' decide shapes", "y"
    )


def test_what_the_builder_of_rtx_lacks_is_refused_for_rtx_alone(tmp_path):
    path = parsed(
        tmp_path,
        """g (float[1, 9, 4] boxes, float[1, 2, 9] scores) => (int64[n, 3] kept)
            <int64 most = {3}, float iou = {0.5}> {
            kept = NonMaxSuppression (boxes, scores, most, iou)
        }""",
    )
    (refused,) = preflight.parser_support(segment_of(path), None).refused
    assert (refused.output, refused.operator) == ("kept", "NonMaxSuppression")
    assert refused.reason == "the builder of TensorRT for RTX has no implementation of it"
    assert not preflight.parser_support(segment_of(path), None, "TensorRT").refused


def test_readers_of_an_input_that_is_refused_are_refused(tmp_path):
    path = parsed(
        tmp_path,
        """g (string[4] s, float[4] x) => (string[4] t, float[4] y) {
            t = Identity (s)
            y = Relu (x)
        }""",
    )
    node, graph_input = preflight.parser_support(segment_of(path), None).refused
    assert (node.operator, node.output) == ("Identity", "t") and "convertDtype" in node.reason
    assert graph_input.output == ""


def test_a_file_that_is_taken_whole_is_said_to_be(half_taken, tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], name="relu")],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )
    save(helper.make_model(graph, ir_version=8), tmp_path / "relu.onnx")
    ask = about("tensorrt").support
    assert ask is not None
    (line,) = ask(segment_of(tmp_path / "relu.onnx"), None).lines("head")
    assert line.startswith("head: the parser of TensorRT for RTX 1.")
    assert line.endswith(" (in the place of TensorRT's own) takes all 1 nodes")


def test_what_is_no_onnx_file_gets_no_answer(tmp_path):
    (tmp_path / "junk.onnx").write_bytes(b"junk" * 99)
    support = preflight.parser_support(segment_of(tmp_path / "junk.onnx"), None)
    assert "junk.onnx' is not an ONNX file" in support.unknown


def test_without_the_extra_one_line_says_that_nobody_was_asked(half_taken, monkeypatch):
    monkeypatch.setattr(preflight, "find_spec", lambda name: None)
    (line,) = preflight.parser_support(segment_of(half_taken), None).lines("head")
    assert line.startswith("head: not asked: the parser of TensorRT for RTX is not here. ")
    assert "pip install '.[tensorrt-rtx]'" in line


def test_a_parser_that_crashes_is_no_answer(half_taken, monkeypatch):
    monkeypatch.setattr(support_query, "module_command", lambda *_: ["sh", "-c", "kill -SEGV $$"])
    assert preflight.parser_support(segment_of(half_taken), None).unknown.endswith(
        "ended with signal SIGSEGV"
    )


def test_a_desk_without_a_gpu_gets_the_answer_of_the_standalone_converter(half_taken, tmp_path):
    ended = run_process("backends.tensorrt", str(half_taken), "out", cwd=tmp_path)
    assert ended.returncode == 1 and not (tmp_path / "out").exists()
    assert "error: tensorrt cannot convert here: the NVIDIA driver finds no GPU" in ended.stderr
    assert "(in the place of TensorRT's own) refuses 2 of 5 nodes" in ended.stderr
    assert "    Det 'number 4': refused by checkDet" in ended.stderr


def test_inspect_asks_the_parser_of_the_backend_that_is_named(half_taken, tmp_path):
    ended = run_process(
        "deploy", "inspect", str(half_taken), "+backend=tensorrt", "--out", "plan", cwd=tmp_path
    )
    assert ended.returncode == 0, ended.stderr
    assert "refuses 2 of 5 nodes" in ended.stdout and "relu" in ended.stdout
    assert '"operator": "Filter"' in (tmp_path / "plan" / "plan.json").read_text()


def test_a_long_answer_is_shortened():
    refused = tuple(RefusedNode(f"node{number}", "Det", "no") for number in range(10))
    lines = list(Support("a parser", 10, refused).lines("head"))
    assert lines[0] == "head: a parser refuses 10 of 10 nodes"
    assert lines[-1] == "  and 2 more" and len(lines) == 10
