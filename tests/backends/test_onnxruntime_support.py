"""What ONNX Runtime says that it takes of a segment."""

from __future__ import annotations

import time
from pathlib import Path

import onnx
import pytest

from backends.contract import ConversionError, Segment, TensorSpec
from backends.onnxruntime import Options, kernels
from backends.onnxruntime.kernels import refused_nodes
from backends.registry import about, converter
from backends.support import Support
from tests.helpers.commands import BACKENDS

if "onnxruntime" not in BACKENDS:
    pytest.skip("onnxruntime is not tested here", allow_module_level=True)

_HEADER = (
    '<ir_version: 10, opset_import: ["" : 22, "acme" : 1, "local" : 1, "com.microsoft" : 1]>\n'
)
_NO_RELU = "ONNX Runtime has no kernel of Relu(14) for bfloat16 on CPUs"


def parsed(graph: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(_HEADER + graph)


def reasons(graph: str) -> dict[str, str]:
    return {node.output: node.reason for node in refused_nodes(parsed(graph), Options())}


def support_of(path: Path, options: Options) -> Support:
    ask = about("onnxruntime").support
    assert ask is not None
    return ask(Segment("head", path, (), ()), options)


def test_all_nodes_without_a_kernel_are_refused_and_those_between_are_not():
    refused = reasons(
        """g (bfloat16[4] x) => (bfloat16[4] y, float[4] z) {
            a = Relu (x)
            b = Identity (a)
            y = Relu (b)
            z = Cast <to = 1> (b)
        }"""
    )
    assert refused == {"a": _NO_RELU, "y": _NO_RELU}


def test_functions_of_the_standard_and_of_the_file_are_taken_where_their_nodes_are():
    refused = reasons(
        """g (bfloat16[4] x, float[4] f) => (bfloat16[4] a, float[4] b, bfloat16[4] c, float[4] d) {
            a = Mish (x)
            b = Mish (f)
            c = local.Own (x)
            d = local.Own (f)
        }
        <domain: "local", opset_import: ["" : 22]> Own (p) => (q) { k = Exp (p) q = Add (k, k) }"""
    )
    assert refused == {
        "a": "ONNX Runtime has no kernel of Softplus(22) for bfloat16 on CPUs",
        "c": "ONNX Runtime has no kernel of Exp(13) for bfloat16 on CPUs",
    }


def test_a_node_with_a_refused_one_inside_is_refused():
    refused = reasons(
        """g (bfloat16[4] x, bool yes) => (bfloat16[4] y) {
            y = If (yes) <
                then_branch = yes () => (bfloat16[4] a) { a = Relu (x) },
                else_branch = no () => (bfloat16[4] b) { b = Identity (x) }>
        }"""
    )
    assert list(refused) == ["y"] and "Relu(14)" in refused["y"]


def test_its_own_operators_are_known_and_tell_the_types_of_what_follows():
    refused = reasons(
        """g (float[4] x) => (float[4] y, bfloat16[4] z) {
            a = com.microsoft.Gelu (x)
            b = Cast <to = 16> (a)
            z = Relu (b)
            y = acme.Filter (a)
        }"""
    )
    assert refused["z"] == _NO_RELU
    assert "acme:Filter(-1) is not a registered function/op" in refused["y"]


def test_nodes_of_one_kind_are_loaded_once(monkeypatch):
    loaded = []
    real = kernels.load_alone
    monkeypatch.setattr(kernels, "load_alone", lambda *args: (loaded.append(args), real(*args))[1])
    chain = "".join(f"t{n + 1} = Relu (t{n})\n" for n in range(500))
    start = time.monotonic()
    assert reasons(f"g (float[4] t0) => (float[4] y) {{ {chain} y = Exp (t500) }}") == {}
    assert len(loaded) == 2 and time.monotonic() - start < 3


def test_the_answer_comes_from_a_child_and_names_the_version(tmp_path):
    path = tmp_path / "graph.onnx"
    onnx.save(parsed("g (bfloat16[4] x) => (bfloat16[4] y) { [first] y = Relu (x) }"), path)
    support = support_of(path, Options())
    assert support.parser.startswith("ONNX Runtime 1.") and support.nodes == 1
    (refused,) = support.refused
    assert (refused.node, refused.operator, refused.output) == ("first", "Relu", "y")


def test_a_gpu_that_is_not_there_cannot_be_asked_unless_the_cpu_may_run_all(tmp_path):
    path = tmp_path / "graph.onnx"
    onnx.save(parsed("g (float[4] x) => (float[4] y) { y = Relu (x) }"), path)
    unknown = support_of(path, Options(device="cuda")).unknown
    assert unknown.endswith("has no GPU here: this build of it is for the CPU")
    fallback = support_of(path, Options(device="cuda", cpu_fallback=True))
    assert (fallback.unknown, fallback.refused) == ("", ())


def test_the_converter_names_every_node_without_a_kernel(tmp_path):
    path = tmp_path / "graph.onnx"
    graph = """g (float[4] x) => (float[4] y) {
        b = Cast <to = 16> (x)
        c = Relu (b)
        d = Relu (c)
        y = Cast <to = 1> (d)
    }"""
    onnx.save(parsed(graph), path)
    specs = [(TensorSpec(name, "float32", (4,)),) for name in "xy"]
    with pytest.raises(ConversionError, match="Could not find an implementation") as error:
        converter("onnxruntime")(Segment("head", path, *specs), Options(), tmp_path)
    assert [node.output for node in error.value.refused] == ["c", "d"]


def test_a_dtype_that_its_python_interface_lacks_is_refused_at_a_border(tmp_path):
    specs = [(TensorSpec(name, "bfloat16", (4,)),) for name in "xy"]
    with pytest.raises(ConversionError, match=r"its tensors are float32, .*: 'x' bfloat16\[4\]"):
        converter("onnxruntime")(Segment("head", tmp_path / "any", *specs), Options(), tmp_path)
    assert "'x' bfloat16[4]" in about("onnxruntime").border_obstacle(specs[0], ())
