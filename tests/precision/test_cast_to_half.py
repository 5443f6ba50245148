"""Precision: what a cast file computes in which type, and that it agrees with the one in fp32."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from backends.acceptance import TOLERANCES
from backends.contract import TensorSpec
from backends.error_metrics import compare_all, worst
from deploy.precision.cast_to_half import cast_to_half
from deploy.precision.definitions import CastRequest, PrecisionError
from tests.cutsuite.own import ramp
from tests.helpers import graphs
from tests.helpers.half_precision import ENGINE, cast, kept, run_half, segment_of, types
from tests.helpers.reference_run import run_unoptimized

X = {"x": ramp(2, 3)}
CHAIN = """(float[2,3] x) => (float[2,3] y)
<float[3] w = {1.0, 2.0, 3.0}>
{
  [scale] a = Mul(x, w)
  [soft] b = Softmax(a)
  [shift] y = Add(b, a)
}"""


def worst_gap(segment, casting, sample):
    expected, found = run_unoptimized(segment.onnx, sample), run_half(casting.segment, sample)
    return worst(compare_all(expected, {n: v.astype(np.float32) for n, v in found.items()}))


def agrees(segment, casting, sample) -> bool:
    return TOLERANCES["fp16"].admits(worst_gap(segment, casting, sample))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_all_computes_in_half_between_inputs_and_outputs_in_fp32(tmp_path, precision):
    segment = segment_of(CHAIN, tmp_path)
    casting = cast(segment, X, precision)
    half = {"fp16": "FLOAT16", "bf16": "BFLOAT16"}[precision]
    assert casting.cast == 3
    assert casting.kept == ()
    assert casting.segment.inputs == segment.inputs
    assert casting.segment.outputs == segment.outputs
    assert types(casting.segment) == {
        f"x.{precision}": half,
        "a": half,
        "b": half,
        f"y.{precision}": half,
        "y": "FLOAT",
    }
    assert agrees(segment, casting, X)


def test_nodes_and_values_keep_their_names_and_the_file_in_fp32_its_bytes(tmp_path):
    segment = segment_of(CHAIN, tmp_path)
    before = segment.onnx.read_bytes()
    graph = onnx.load(cast(segment, X).segment.onnx).graph
    assert [node.name for node in graph.node if node.op_type != "Cast"] == [
        "scale",
        "soft",
        "shift",
    ]
    assert [weight.name for weight in graph.initializer] == ["w"]
    assert segment.onnx.read_bytes() == before


def test_the_same_cast_gives_the_same_bytes(tmp_path):
    segment = segment_of(CHAIN, tmp_path)
    first = cast(segment, X).segment.onnx.read_bytes()
    assert cast(segment, X).segment.onnx.read_bytes() == first


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_onnx_own_reference_runs_what_is_cast(tmp_path, precision):
    segment = graphs.decode(tmp_path / "decode.onnx")
    sample = {"image": np.random.default_rng(0).standard_normal((1, 3, 4, 5)).astype(np.float32)}
    found = ReferenceEvaluator(str(cast(segment, sample, precision).segment.onnx)).run(None, sample)
    expected = run_unoptimized(segment.onnx, sample)
    gaps = compare_all(expected, dict(zip(expected, found, strict=True)))
    assert TOLERANCES["fp16"].admits(worst(gaps))


def test_inputs_and_outputs_are_half_where_that_is_asked(tmp_path):
    segment = segment_of(CHAIN, tmp_path)
    casting = cast(segment, X, CastRequest("fp16", io=True))
    assert casting.segment.inputs == (TensorSpec("x", "float16", (2, 3)),)
    assert casting.segment.outputs == (TensorSpec("y", "float16", (2, 3)),)
    assert types(casting.segment) == {"a": "FLOAT16", "b": "FLOAT16", "y": "FLOAT16"}
    found = run_half(casting.segment, {"x": X["x"].astype(np.float16)})
    expected = run_unoptimized(segment.onnx, X)
    np.testing.assert_allclose(found["y"], expected["y"], rtol=1e-2, atol=1e-3)


def test_half_inputs_and_outputs_of_nodes_in_fp32(tmp_path):
    segment = segment_of(CHAIN, tmp_path)
    casting = cast(segment, X, CastRequest("fp16", io=True, keep_ops=("Mul", "Add")))
    assert casting.segment.outputs[0].dtype == "float16"
    assert types(casting.segment) == {
        "x.fp32": "FLOAT",
        "a": "FLOAT",
        "a.fp16": "FLOAT16",
        "b.fp16": "FLOAT16",
        "b": "FLOAT",
        "y.fp32": "FLOAT",
        "y": "FLOAT16",
    }


def test_an_output_that_does_not_fit_stays_fp32_even_where_half_is_asked(tmp_path):
    segment = segment_of(
        "(float[2,3] x) => (float[2,3] y, float[2,3] z) <float k = {50000.0}>"
        " { y = Mul(x, k)\n z = Neg(x) }",
        tmp_path,
    )
    casting = cast(segment, X, CastRequest("fp16", io=True))
    assert [spec.dtype for spec in casting.segment.outputs] == ["float32", "float16"]
    assert kept(casting) == {"y": "overflow: max 6.88e+04 > 32752 in tensor 'y'"}


def test_bfloat16_cannot_cross_the_border(tmp_path):
    with pytest.raises(PrecisionError, match=r"'net': expected float16 or float32, got bfloat16"):
        cast(segment_of(CHAIN, tmp_path), X, CastRequest("bf16", io=True))


@pytest.mark.parametrize("asked", [{"keep_ops": ("Softmax",)}, {"keep_nodes": ("soft",)}])
def test_what_is_asked_for_stays_in_fp32(tmp_path, asked):
    casting = cast(segment_of(CHAIN, tmp_path), X, CastRequest("fp16", **asked))
    assert kept(casting) == {"soft": "asked"}
    assert casting.cast == 2
    assert types(casting.segment)["a"] == "FLOAT"
    assert types(casting.segment)["a.fp16"] == "FLOAT16"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"keep_ops": ("Softmx",)},
            r"keep_ops of the cast: expected an operator of this segment, such as Softmax, "
            r"got 'Softmx'",
        ),
        ({"keep_ops": ("Conv",)}, r"such as Add, Mul, Softmax, got 'Conv'"),
        ({"keep_nodes": ("sofd",)}, r"expected a node of this segment, such as soft, got 'sofd'"),
    ],
)
def test_unknown_names_are_refused(tmp_path, asked, message):
    with pytest.raises(PrecisionError, match=message):
        cast(segment_of(CHAIN, tmp_path), X, CastRequest("fp16", **asked))


def test_a_weight_that_nodes_of_both_types_read_is_there_twice(tmp_path):
    segment = segment_of(
        "(float[2,3] x) => (float[2,3] y) <float[3] w = {1.1, 2.2, 3.3}>"
        " { a = Mul(x, w)\n b = Exp(a)\n y = Div(b, w) }",
        tmp_path,
    )
    casting = cast(segment, X, CastRequest("fp16", keep_ops=("Div",)))
    weights = {w.name: w.data_type for w in onnx.load(casting.segment.onnx).graph.initializer}
    assert weights == {"w": onnx.TensorProto.FLOAT, "w.fp16": onnx.TensorProto.FLOAT16}
    assert agrees(segment, casting, X)


def test_a_name_that_is_taken_stays_with_its_owner(tmp_path):
    segment = segment_of(
        '(float[2,3] x) => (float[2,3] y) { "x.fp16" = Neg(x)\n y = Exp("x.fp16") }', tmp_path
    )
    casting = cast(segment, X)
    assert {"x.fp16", "x.fp16_"} <= types(casting.segment).keys()
    assert agrees(segment, casting, X)


def test_large_weights_lie_beside_the_file_in_half(tmp_path):
    shape = (3, 300_000)
    w = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    segment = segment_of(
        "(float[2,3] x) => (float[2,300000] y) { y = MatMul(x, w) }", tmp_path, w=w
    )
    casting = cast(segment, X)
    assert casting.segment.onnx.stat().st_size < 2_000
    data = casting.segment.onnx.with_name("net.onnx.data")
    assert data.read_bytes() == w.astype(np.float16).tobytes()
    assert agrees(segment, casting, X)


def test_weights_beside_an_old_file_are_found_after_its_opset_is_raised(tmp_path):
    w = np.random.default_rng(0).standard_normal((3, 300_000)).astype(np.float32)
    segment = segment_of(
        "(float[2,3] x) => (float[2,300000] y) { y = MatMul(x, w) }", tmp_path, opset=13, w=w
    )
    model = onnx.load(segment.onnx)
    onnx.save(model, segment.onnx, save_as_external_data=True, location="weights")
    casting = cast(segment, X, "bf16")
    assert onnx.load(casting.segment.onnx).opset_import[0].version == 22
    assert agrees(segment, casting, X)


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 20, 22])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_convolution_of_any_opset(tmp_path, opset, precision):
    segment = segment_of(
        "(float[1,3,8,8] x) => (float[1,4,4,4] y) {"
        " c = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, w)\n r = Relu(c)"
        "\n y = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r) }",
        tmp_path,
        opset,
        w=graphs.kernel(4, 3, 3, 3),
    )
    sample = {"x": ramp(1, 3, 8, 8) / 100}
    casting = cast(segment, sample, precision)
    assert casting.cast == 3
    assert agrees(segment, casting, sample)


def test_the_segments_own_folder_is_refused(tmp_path):
    segment = segment_of(CHAIN, tmp_path)
    with pytest.raises(PrecisionError, match=r"'net' would overwrite .* Choose another folder"):
        cast_to_half(segment, CastRequest("fp16"), X, ENGINE, tmp_path)


def test_a_file_that_is_half_already_stays_as_it_is(tmp_path):
    segment = segment_of(
        "(float16[2,3] x) => (float16[2,3] y) { a = Exp(x)\n y = Neg(a) }", tmp_path
    )
    casting = cast(segment, {"x": X["x"].astype(np.float16)})
    assert (casting.cast, casting.kept) == (0, ())
    assert not [node for node in ir.load(casting.segment.onnx).graph if node.op_type == "Cast"]
