"""Machine code and NumPy find the same, and both what the plain way finds."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.models.yolov3.anchors import ANCHORS
from deploy.models.yolov3.decoding import (
    CompiledMapDecoder,
    NumpyMapDecoder,
    Thresholds,
)
from tests.models.yolov3.plain import crowded_maps, plain_detections

HALF = np.array(ANCHORS["darknet53"], np.float32) / 2
WAYS = (NumpyMapDecoder, CompiledMapDecoder)


def one(maps):
    return [raw[0] for raw in maps]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("candidates", [0, 1, 100, 1000, 2500])
def test_what_the_plain_way_finds_is_found_in_its_order(way, candidates):
    maps = crowded_maps(candidates, side=320, classes=20)
    found = way(HALF, Thresholds())(one(maps))
    boxes, scores, labels = plain_detections(maps, "darknet53", 20, Thresholds())
    assert found.labels.tolist() == labels.tolist()
    np.testing.assert_allclose(found.boxes, boxes, rtol=0, atol=2e-4)
    np.testing.assert_allclose(found.scores, scores, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "limits",
    [
        Thresholds(score_thr=0.0, conf_thr=0.0),
        Thresholds(score_thr=0.3, conf_thr=0.2, iou_thr=0.1),
        Thresholds(nms_pre=7),
        Thresholds(max_per_img=3),
        Thresholds(nms_pre=0),
        Thresholds(max_per_img=0),
        Thresholds(score_thr=1.0),
    ],
)
@pytest.mark.parametrize("kind", ["noise", "ties", "not finite"])
def test_both_ways_agree_on_anything(kind, limits):
    rs = np.random.RandomState(1)
    maps = [rs.normal(0, 3, (3 * 9, side, side)).astype(np.float32) for side in (3, 6, 12)]
    if kind == "ties":
        maps = [raw.round() for raw in maps]
    if kind == "not finite":
        for raw in maps:
            raw[rs.rand(*raw.shape) < 0.05] = rs.choice([np.nan, np.inf, -np.inf, 3e38, -3e38])
    plain, fast = (way(HALF, limits)(maps) for way in WAYS)
    np.testing.assert_array_equal(fast.labels, plain.labels)
    np.testing.assert_array_equal(fast.boxes, plain.boxes)
    np.testing.assert_array_equal(fast.scores, plain.scores)


def test_read_only_and_strided_maps_are_taken_without_compiling_anew():
    maps = one(crowded_maps(50, side=320))
    decode = CompiledMapDecoder(HALF, Thresholds())
    expected, kinds = decode(maps), len(decode._decode_maps.machine_code.signatures)
    strided = [np.asfortranarray(raw) for raw in maps]
    for raw in strided:
        raw.flags.writeable = False
    found = decode(strided)
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    assert len(decode._decode_maps.machine_code.signatures) == kinds
