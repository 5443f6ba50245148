"""What OpenVINO says that it takes of a segment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from backends.contract import UNBOUNDED, ConversionError, Dynamic, Segment
from backends.onnx.specs import read_segment
from backends.registry import about, converter, options_type
from backends.support import RefusedNode, Support
from tests.helpers.commands import BACKENDS

if "openvino" not in BACKENDS:
    pytest.skip("openvino is not tested here", allow_module_level=True)

_HEADER = '<ir_version: 10, opset_import: ["" : 21, "acme" : 1, "local" : 1]>\n'
_ROWS = Dynamic("n", 1, 2, UNBOUNDED)


def segment_of(tmp_path: Path, graph: str) -> Segment:
    path = tmp_path / "graph.onnx"
    onnx.save(onnx.parser.parse_model(_HEADER + graph), path)
    return read_segment(path, "head", {"n": _ROWS})


def support_of(segment: Segment) -> Support:
    ask = about("openvino").support
    assert ask is not None
    return ask(segment, options_type("openvino")())


def outputs(support: Support) -> dict[str, str]:
    assert not support.unknown
    return {node.output: node.reason for node in support.refused}


def test_operators_without_a_translation_are_refused_all_at_once(tmp_path):
    segment = segment_of(
        tmp_path,
        """g (float[4, 4] x) => (float[4, 4] y, float volume) {
            [relu] a = Relu (x)
            [filter] b = acme.Filter (a)
            y = Sigmoid (b)
            volume = Det (x)
        }""",
    )
    support = support_of(segment)
    assert support.parser.startswith("OpenVINO 20") and support.nodes == 4
    no_rule = "OpenVINO has no translation for it"
    assert support.refused == (
        RefusedNode("filter", "Filter", no_rule, "b"),
        RefusedNode("number 3", "Det", no_rule, "volume"),
    )


def test_what_needs_a_refused_node_is_asked_about_too(tmp_path):
    """A sum of sizes that contradict each other, behind a node without a translation."""
    segment = segment_of(
        tmp_path,
        """g (float[4, 4] x) => (float volume, float[2, 2] y) <int64[2] sizes = {3, 3}> {
            volume = Det (x)
            a = Add (x, volume)
            y = Reshape (a, sizes)
        }""",
    )
    refused = outputs(support_of(segment))
    assert list(refused) == ["volume", "y"]
    assert "Requested output shape [3,3]" in refused["y"]


def test_a_node_with_an_unknown_one_inside_says_which(tmp_path):
    segment = segment_of(
        tmp_path,
        """g (float[4] x, bool yes) => (float[4] y) {
            y = If (yes) <
                then_branch = yes () => (float[4] a) { a = acme.Filter (x) },
                else_branch = no () => (float[4] b) { b = Relu (x) }>
        }""",
    )
    assert outputs(support_of(segment)) == {"y": "OpenVINO has no translation for 'a' inside it"}


def test_calls_of_functions_are_taken_where_their_nodes_are(tmp_path):
    segment = segment_of(
        tmp_path,
        """g (float[4] x) => (float[4] y, float[4] z) { y = local.Good (x) z = local.Bad (x) }
        <domain: "local", opset_import: ["" : 21]> Good (p) => (q) { k = Relu (p) q = Exp (k) }
        <domain: "local", opset_import: ["" : 21, "acme" : 1]>
        Bad (p) => (q) { k = acme.Filter (p) q = Exp (k) }""",
    )
    assert list(outputs(support_of(segment))) == ["z"]


def test_dtypes_that_it_would_compute_as_others_are_refused(tmp_path):
    segment = segment_of(
        tmp_path,
        """g (float[4] x) => (float[4] y) {
            deep = Cast <to = 11> (x)
            exp = Exp (deep)
            back = Cast <to = 1> (exp)
            y = Relu (back)
        }""",
    )
    refused = outputs(support_of(segment))
    assert list(refused) == ["deep", "exp", "back"]
    assert refused["exp"] == "OpenVINO does not compute in float64: 'deep'"


_FAULTS = [
    (
        "(float[1, 1, 2, 4] x) => (float[1, 1, 3, 6] y) <int64[4] to = {1, 1, 3, 8}>",
        'Resize <mode = "nearest", keep_aspect_ratio_policy = "not_larger"> (x, , , to)',
        "it ignores keep_aspect_ratio_policy",
    ),
    (
        "(float[2, 1, 3] x, float[1, 8, 3] w, float[1, 8, 2] r, float[1, 6] p)"
        "=> (float[2, 1, 1, 2] y)",
        "LSTM <hidden_size = 2> (x, w, r, , , , , p)",
        "it ignores peepholes",
    ),
    (
        "(float[1, 1, 4, 4] x) => (float[1, 1, 2, 2] y) <float[4] by = {1, 1, 0.6, 0.6}>",
        'Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (x, , by)',
        "align_corners with scales below 1",
    ),
    (
        "(float[1, 1, 4, 4] x) => (float[1, 1, 8, 8] y) <float[4] by = {1, 1, 2, 2}>",
        'Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (x, , by)',
        "",
    ),
    (
        "(float[1, 1, 4, 4] x, float[1, 4] box, int64[1] of) => (float[1, 1, 2, 2] y)",
        'RoiAlign <mode = "max", output_height = 2, output_width = 2> (x, box, of)',
        "mode=max",
    ),
    (
        "(float[2, 2] x, int64[2] n) => (float[a, b] y)",
        "Tile (x, n)",
        "repeats that are no constants",
    ),
    ("(float[2, 2] x) => (float[4, 2] y) <int64[2] n = {2, 1}>", "Tile (x, n)", ""),
    (
        "(int8[2] x, int8[2] n) => (int8[2] y)",
        'BitShift <direction = "LEFT"> (x, n)',
        "shifts of signed numbers",
    ),
    ("(uint8[2] x, uint8[2] n) => (uint8[2] y)", 'BitShift <direction = "LEFT"> (x, n)', ""),
]


@pytest.mark.parametrize(("header", "node", "fault"), _FAULTS)
def test_what_it_is_known_to_compute_in_another_way_is_refused(header, node, fault, tmp_path):
    refused = outputs(support_of(segment_of(tmp_path, f"g {header} {{ y = {node} }}")))
    assert refused == ({"y": f"OpenVINO computes it in another way: {fault}"} if fault else {})


def test_an_operator_that_it_reads_in_another_way_is_refused_here_and_by_the_converter(tmp_path):
    """OpenVINO leaves out that DFT may give half of a spectrum."""
    segment = segment_of(
        tmp_path,
        """g (float[1, 8, 1] x) => (float[1, 5, 2] y) <int64 axis = {1}>
        {
            a = Relu (x)
            spectrum = DFT <onesided = 1> (a, , axis)
            y = Neg (spectrum)
        }""",
    )
    model = onnx.shape_inference.infer_shapes(onnx.load(segment.onnx))
    onnx.save(model, segment.onnx)
    (refused,) = support_of(segment).refused
    assert (refused.operator, refused.output) == ("DFT", "spectrum")
    assert "expected its shape [1,5,2], got " in refused.reason
    (tmp_path / "out").mkdir()
    with pytest.raises(ConversionError, match="reads DFT, which gives 'spectrum'") as error:
        converter("openvino")(segment, options_type("openvino")(), tmp_path / "out")
    assert error.value.refused == (refused,)


def test_the_converter_names_the_nodes_without_a_translation(tmp_path):
    graph = "g (float[4] x) => (float[4] y) { [f] a = acme.Filter (x) b = Relu (a) y = acme.F (b) }"
    segment = segment_of(tmp_path, graph)
    model = onnx.load(segment.onnx)
    for name in "ab":
        value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4])
        model.graph.value_info.append(value)
    onnx.save(model, segment.onnx)
    with pytest.raises(ConversionError, match="No conversion rule found") as error:
        converter("openvino")(segment, options_type("openvino")(), tmp_path)
    assert [node.output for node in error.value.refused] == ["a", "y"]


def test_a_file_with_open_sizes_and_large_weights_is_taken_whole(tmp_path):
    segment = segment_of(tmp_path, "g (float[n, 256] x) => (float[n, 256] y) { y = MatMul (x, w) }")
    model = onnx.load(segment.onnx)
    weight = onnx.numpy_helper.from_array(np.ones((256, 256), "f4"), "w")
    model.graph.initializer.append(weight)
    onnx.save(model, segment.onnx)
    support = support_of(segment)
    assert list(support.lines("head")) == [f"head: {support.parser} takes all 1 nodes"]


def test_what_is_no_onnx_file_gets_no_answer(tmp_path):
    (tmp_path / "junk.onnx").write_bytes(b"junk" * 99)
    support = support_of(Segment("head", tmp_path / "junk.onnx", (), ()))
    assert "junk.onnx' is not an ONNX file" in support.unknown


def test_without_the_engine_nobody_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr("backends.openvino.find_spec", lambda name: None)
    support = support_of(Segment("head", tmp_path / "any.onnx", (), ()))
    assert support.unknown.startswith("OpenVINO is not here. Run in the repository: pip install")
