"""Precision: regions in pixels stay in fp32, and so does what is computed from them."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.precision.definitions import CastRequest
from tests.cutsuite.own import ramp
from tests.helpers.half_precision import cast, kept, run_half, segment_of, types
from tests.helpers.reference_run import run_unoptimized

WHY = "needs fp32 (regions in pixels)"
ROIS = np.array([[1000.3, 0.2, 1003.3, 2.7], [2517.6, 0, 2520.1, 3]], np.float32)
STRIPES = np.tile(np.arange(2600, dtype=np.float32) % 2, (1, 1, 3, 1))  # each a pixel wide
ALIGN = """(float[1,1,3,2600] x, float[n,4] rois, int64[n] pictures) => (float[n,1,2,2] y)
{
  a = Relu(x)
  r = RoiAlign<output_height = 2, output_width = 2, sampling_ratio = 1>(a, rois, pictures)
  y = Neg(r)
}"""
LEVELS = """(float[n,4] rois, float[1,1,8,8] x, int64[n] pictures) =>
  (int64[n] level, float[n,1,1,1] y)
{
  low, high = Split<axis = 1, num_outputs = 2>(rois)
  sides = Sub(high, low)
  area = ReduceProd<keepdims = 0>(sides, one)
  side = Sqrt(area)
  most = Constant<value_float = 112.0>()
  share = Div(side, most)
  octave = Log(share)
  floor = Floor(octave)
  level = Cast<to = 7>(floor)
  y = RoiAlign(x, rois, pictures)
}"""
DECODED = """(float[1,4,1,5] x, float[1,1,5] scores) => (float[1,5,4] y, int64[k,3] chosen)
{
  a = Tanh(x)
  moved = Conv(a, w)
  rows = Squeeze(moved, two)
  offsets = Transpose<perm = [0, 2, 1]>(rows)
  boxes = Add(offsets, anchors)
  likely = Sigmoid(scores)
  chosen = NonMaxSuppression(boxes, likely, most)
  y = Identity(boxes)
}"""


@pytest.mark.parametrize("io", [False, True])
def test_regions_are_looked_at_where_they_are_and_not_at_the_nearest_half(tmp_path, io):
    sample = {"x": STRIPES, "rois": ROIS, "pictures": np.zeros(2, np.int64)}
    segment = segment_of(ALIGN, tmp_path)
    casting = cast(segment, sample, CastRequest("fp16", io=io))
    assert kept(casting) == {"r": WHY}
    dtypes = {spec.name: spec.dtype for spec in casting.segment.inputs}
    assert dtypes["rois"] == "float32" and dtypes["x"] == ("float16" if io else "float32")
    expected = run_unoptimized(segment.onnx, sample)["y"]
    given = {name: array.astype(dtypes[name]) for name, array in sample.items()}
    np.testing.assert_allclose(run_half(casting.segment, given)["y"], expected, rtol=0, atol=1e-2)
    rounded = {**sample, "rois": ROIS.astype(np.float16).astype(np.float32)}
    assert np.abs(run_unoptimized(segment.onnx, rounded)["y"] - expected).max() > 0.1


def test_the_level_of_a_region_is_computed_from_it_in_fp32(tmp_path):
    rois = np.array([[1000.3, 1000.3, 1112.35, 1112.35]], np.float32)
    sample = {"rois": rois, "x": ramp(1, 1, 8, 8), "pictures": np.zeros(1, np.int64)}
    segment = segment_of(LEVELS, tmp_path, one=np.array([1]))
    casting = cast(segment, sample)
    steps = ["low", "sides", "area", "side", "share", "octave", "floor", "level", "y"]
    assert kept(casting) == dict.fromkeys(steps, WHY)
    assert run_half(casting.segment, sample)["level"] == 0
    rounded = {**sample, "rois": rois.astype(np.float16).astype(np.float32)}
    assert run_unoptimized(segment.onnx, rounded)["level"] == -1


def test_offsets_are_learned_in_half_and_added_to_anchors_in_fp32(tmp_path):
    anchors = (1000.3 + 10 * ramp(1, 5, 4)).astype(np.float32)
    weights = {"w": np.ones((4, 4, 1, 1), np.float32), "anchors": anchors}
    weights |= {"two": np.array([2]), "most": np.array([3])}
    segment = segment_of(DECODED, tmp_path, **weights)
    sample = {"x": ramp(1, 4, 1, 5), "scores": ramp(1, 1, 5)}
    casting = cast(segment, sample)
    why = kept(casting)
    assert why.pop("chosen").startswith("needs fp32 (NonMaxSuppression has no fp16")
    assert why == dict.fromkeys(["rows", "offsets", "boxes", "y"], WHY)
    found = types(casting.segment)
    assert found["moved.fp16"] == found["likely.fp16"] == "FLOAT16"
    expected, half = run_unoptimized(segment.onnx, sample), run_half(casting.segment, sample)
    np.testing.assert_allclose(half["y"], expected["y"], rtol=0, atol=1e-2)


def test_what_is_learned_of_regions_is_learned_in_half(tmp_path):
    segment = segment_of(
        "(float[n,4] rois, float[1,1,8,8] x, int64[n] pictures) => (float[n,2] y, float[n,1,1,1] z)"
        " { z = RoiAlign(x, rois, pictures)\n a = MatMul(rois, w)\n y = Relu(a) }",
        tmp_path,
        w=ramp(4, 2),
    )
    sample = {"rois": ROIS, "x": ramp(1, 1, 8, 8), "pictures": np.zeros(2, np.int64)}
    assert kept(cast(segment, sample)) == {"z": WHY}


def test_regions_that_are_weights_stay_in_fp32_too(tmp_path):
    text = ALIGN.replace(", float[n,4] rois, int64[n] pictures", "").replace(
        "float[n,1", "float[2,1"
    )
    weights = {"rois": ROIS, "pictures": np.zeros(2, np.int64)}
    casting = cast(segment_of(text, tmp_path, **weights), {"x": STRIPES})
    assert kept(casting) == {"r": WHY}
