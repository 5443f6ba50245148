"""Precision: numbers that half cannot hold are found, and what needs them stays in fp32."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.precision.definitions import BF16, FP16
from deploy.precision.value_ranges import range_problem, weight_range_problem
from tests.cutsuite.own import ramp
from tests.helpers.half_precision import cast, kept, run_half, segment_of, types
from tests.helpers.reference_run import run_unoptimized

X = {"x": ramp(2, 3)}
NOTHING = {"x": np.zeros((2, 3), np.float32)}  # a sample on which nothing is too large

LARGE_WEIGHT = """(float[2,3] x) => (float[2,3] y)
<float[3] w = {1000000.0, 2.0, 3.0}, float k = {0.00005}>
{
  a = Mul(x, w)
  b = Mul(a, k)
  c = Tanh(b)
  y = Add(c, x)
}"""
LARGE_TENSOR = """(float[2,3] x) => (float[2,3] y)
<float s = {300.0}, float k = {0.0001}>
{
  a = Mul(x, s)
  b = Mul(a, a)
  c = Mul(b, k)
  y = Tanh(c)
}"""


def close(segment, casting, sample) -> bool:
    expected, found = run_unoptimized(segment.onnx, sample), run_half(casting.segment, sample)
    return all(np.allclose(found[n], v, rtol=1e-2, atol=5e-3) for n, v in expected.items())


def test_a_weight_that_overflows_is_found_without_running(tmp_path):
    segment = segment_of(LARGE_WEIGHT, tmp_path)
    casting = cast(segment, NOTHING)
    assert kept(casting) == {"a": "overflow: max 1e+06 > 65504 in weight 'w'"}


def test_what_a_large_weight_makes_is_found_by_running(tmp_path):
    segment = segment_of(LARGE_WEIGHT, tmp_path)
    casting = cast(segment, X)
    assert kept(casting) == {
        "a": "overflow: max 1e+06 > 65504 in weight 'w'",
        "b": "overflow: max 1.38e+06 > 32752 in tensor 'a'",
    }
    assert close(segment, casting, X)


def test_a_tensor_that_overflows_is_found_by_running(tmp_path):
    segment = segment_of(LARGE_TENSOR, tmp_path)
    casting = cast(segment, X)
    assert kept(casting) == {
        "b": "overflow: max 1.7e+05 > 32752 in tensor 'b'",
        "c": "overflow: max 1.7e+05 > 32752 in tensor 'b'",
    }
    assert types(casting.segment)["a"] == "FLOAT"
    assert close(segment, casting, X)


def test_without_the_measurement_it_would_be_infinite(tmp_path):
    segment = segment_of(LARGE_TENSOR.replace("y = Tanh(c)", "y = Neg(c)"), tmp_path)
    blind = cast(segment, {"x": X["x"] / 100})
    assert blind.kept == ()
    assert np.isinf(run_half(blind.segment, X)["y"]).any()


def test_bfloat16_holds_what_float16_does_not(tmp_path):
    segment = segment_of(LARGE_TENSOR, tmp_path)
    casting = cast(segment, X, "bf16")
    assert casting.kept == ()
    assert close(segment, casting, X)


def test_infinite_weights_and_tensors_fit(tmp_path):
    segment = segment_of(
        "(float[2,3] x) => (float[2,3] y) { a = Add(x, mask)\n y = Softmax(a) }",
        tmp_path,
        mask=np.array([0, 0, -np.inf], np.float32),
    )
    casting = cast(segment, X)
    assert casting.kept == ()
    assert close(segment, casting, X)


def test_the_smallest_float_as_a_mask_keeps_its_softmax_in_fp32(tmp_path):
    segment = segment_of(
        "(float[2,3] x) => (float[2,3] y) { a = Add(x, mask)\n b = Softmax(a)\n y = Exp(b) }",
        tmp_path,
        mask=np.array([0, 0, np.finfo(np.float32).min], np.float32),
    )
    for precision in ("fp16", "bf16"):
        casting = cast(segment, X, precision)
        assert list(kept(casting)) == ["a", "b"]
        assert close(segment, casting, X)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_tiny_weight_is_lost_in_fp16_alone(tmp_path, precision):
    segment = segment_of(
        "(float[2,3] x) => (float[2,3] y) <float tiny = {0.000000000001}>"
        " { a = Sub(x, x)\n b = Add(a, tiny)\n c = Div(a, b)\n y = Add(c, x) }",
        tmp_path,
    )
    casting = cast(segment, X, precision)
    why = kept(casting)
    if precision == "fp16":
        assert why["b"] == "underflow: 100% of weight 'tiny' is lost"
        assert why["c"] == "underflow: max 1e-12 < 6.1e-05 in tensor 'b'"
    else:
        assert why == {}
    assert close(segment, casting, X)


def test_magnitudes_just_inside_and_outside():
    assert range_problem(32752.0, "t", FP16) == ""
    assert range_problem(32753.0, "t", FP16)
    assert range_problem(0.0, "t", FP16) == ""
    assert range_problem(2.0**-14, "t", FP16) == ""
    assert range_problem(2.0**-15, "t", FP16)
    assert range_problem(1e30, "t", BF16) == range_problem(1e-30, "t", BF16) == ""


def test_weights_just_inside_and_outside():
    def why(*values, half=FP16):
        return weight_range_problem(np.array(values, np.float32), "w", half)

    assert why(65504, -1) == why() == why(0) == why(np.inf, np.nan, 1) == ""
    assert why(65536)
    assert why(1, 1e-9, 1e-9, 1e-9) == ""  # beside a large value, small ones do not matter
    assert why(1e-9) and not why(1e-9, half=BF16)
    assert not weight_range_problem(np.full((1, 1 << 21), 0.1, np.float32), "w", FP16)


def test_an_empty_tensor_has_no_magnitude(tmp_path):
    segment = segment_of("(float[n,3] x) => (float[n,3] y) { a = Neg(x)\n y = Exp(a) }", tmp_path)
    casting = cast(segment, {"x": np.zeros((0, 3), np.float32)})
    assert (casting.cast, casting.kept) == (2, ())
