"""The step ``detect.yolo`` against Ultralytics, plain loops, and outputs that are not boxes."""

from __future__ import annotations

from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.contract import TensorError
from deploy.runtime.execution.post_steps import PostError, make_post
from deploy.tasks.detect.yolo import Yolo

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> dict[str, Any]:
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return dict(arrays)


def rows_of(found: Any) -> np.ndarray:
    return np.column_stack((found.boxes, found.scores, found.labels))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain", {}),
        ("agnostic", {"agnostic": True}),
        ("multi_label", {"multi_label": True, "max_per_img": 40}),
    ],
)
def test_suppression_keeps_the_boxes_that_ultralytics_keeps(name, options):
    arrays = golden("yolo_nms")
    pictures = Yolo(score_thr=0.3, iou_thr=0.5, **options).batch([arrays["output"]])
    for number, found in enumerate(pictures):
        expected = arrays[f"{name}_{number}"]
        assert len(expected) > 5
        np.testing.assert_allclose(rows_of(found), expected, atol=1e-3)


def test_a_transposed_head_is_read_where_the_classes_are_counted():
    output = golden("yolo_nms")["output"]
    first = Yolo().batch([output])
    second = Yolo(num_classes=4).batch([np.ascontiguousarray(output.transpose(0, 2, 1))])
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(rows_of(one), rows_of(other))


def test_maps_of_distributions_decode_as_in_ultralytics():
    arrays = golden("yolo_maps")
    maps = [arrays[f"map_{number}"] for number in range(3)]
    step = Yolo(score_thr=0, iou_thr=1, multi_label=True, max_per_img=1000)
    [found] = step.batch(maps)
    anchors, labels = np.divmod(np.argsort(-arrays["scores"].ravel(), kind="stable"), 2)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.boxes, arrays["boxes"][anchors], atol=1e-3)
    np.testing.assert_allclose(found.scores, arrays["scores"][anchors, labels], atol=1e-6)


def test_one_bin_is_a_distance_in_cells():
    maps = np.full((1, 5, 2, 3), -9, np.float32)
    maps[0, :4, 1, 2] = 0.5, 1.5, 1.0, 2.0
    maps[0, 4, 1, 2] = 3.0
    [found] = Yolo("maps", bins=1, strides=(16,)).batch([maps])
    np.testing.assert_allclose(found.boxes, [[32, 0, 56, 56]])


def test_yolox_is_decoded_with_grids_and_strides_as_plain_loops_do():
    rng = np.random.default_rng(0)
    height, width, strides = 64, 96, (8, 16, 32)
    cells = [(y, x, s) for s in strides for y in range(height // s) for x in range(width // s)]
    raw = rng.uniform(0, 1, (1, len(cells), 5 + 3)).astype(np.float32)
    expected = []
    for (y, x, stride), row in zip(cells, raw[0].tolist(), strict=True):
        centre_x, centre_y = (row[0] + x) * stride, (row[1] + y) * stride
        wide, high = exp(row[2]) * stride, exp(row[3]) * stride
        label = max(range(3), key=lambda number, row=row: row[5 + number])
        score = row[4] * row[5 + label]
        if score > 0.25:
            box = [centre_x - wide / 2, centre_y - high / 2]
            expected.append([*box, box[0] + wide, box[1] + high, score, label])
    expected.sort(key=lambda row: -row[4])
    [found] = Yolo("yolox", size=(height, width), iou_thr=1, max_per_img=1000).batch([raw])
    assert len(expected) > 20
    np.testing.assert_allclose(rows_of(found), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("multi_label", [False, True])
def test_logits_and_probabilities_give_the_same_detections(multi_label):
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (1, 50, 8)).astype(np.float32)
    logits[..., :4] = rng.uniform(10, 100, (1, 50, 4))
    shares = logits.copy()
    shares[..., 4:] = 1 / (1 + np.exp(-logits[..., 4:]))
    options = {"layout": "objectness", "multi_label": multi_label}
    [first] = Yolo(scores="logits", **options).batch([logits])
    [second] = Yolo(**options).batch([shares])
    assert len(first) > 3
    np.testing.assert_allclose(rows_of(first), rows_of(second), atol=1e-5)


def test_normalised_corners_are_scaled_to_the_size_of_the_input():
    output = np.zeros((1, 50, 6), np.float32)
    output[0, 3] = 0.25, 0.5, 0.5, 1.0, 0.9, 1.0
    step = Yolo("objectness", boxes="xyxy", units="normalised", size=(200, 400))
    [found] = step.batch([output])
    assert found.boxes.tolist() == [[100, 100, 200, 200]]


def test_rows_of_an_end_to_end_head_are_sorted_and_cut_at_the_threshold():
    output = np.zeros((2, 300, 6), np.float32)
    output[1, 5] = 1, 2, 3, 4, 0.5, 7
    output[1, 9] = 5, 6, 7, 8, 0.75, 2
    first, second = Yolo().batch([output])
    assert len(first) == 0
    assert second.boxes.tolist() == [[5, 6, 7, 8], [1, 2, 3, 4]]
    assert second.labels.tolist() == [2, 7]


@pytest.mark.parametrize("shape", [(0, 6, 100), (1, 6, 0), (2, 6, 8400)])
def test_nothing_is_found_where_nothing_is(shape):
    found = Yolo("anchor_free").batch([np.zeros(shape, np.float32)])
    assert [len(picture) for picture in found] == [0] * shape[0]


@pytest.mark.parametrize("layout", ["objectness", "yolox", "end_to_end", "maps"])
def test_no_candidate_is_no_detection_in_any_layout(layout):
    shape = {"end_to_end": (2, 84, 6), "maps": (2, 66, 8, 8)}.get(layout, (2, 84, 7))
    strides = (8,) if layout == "maps" else (8, 16, 32)
    found = Yolo(layout, size=(64, 64), strides=strides).batch([np.full(shape, -9, np.float32)])
    assert [len(picture) for picture in found] == [0, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("layout", ["anchor_free", "objectness", "yolox", "end_to_end", "maps"])
def test_values_that_are_not_finite_take_away_their_own_box_alone(layout, value):
    rng = np.random.default_rng(2)
    shape = {"anchor_free": (1, 6, 84), "end_to_end": (1, 84, 6), "maps": (1, 66, 6, 14)}
    output = rng.uniform(0.6, 0.9, shape.get(layout, (1, 84, 7))).astype(np.float32)
    rows = output[0].reshape(len(output[0]), -1)
    rows = rows.T if layout in ("anchor_free", "maps") else rows
    for number in range(rows.shape[1]):
        rows[number, number] = value
    size = (64, 64) if layout == "yolox" else None
    strides = (8,) if layout == "maps" else (8, 16, 32)
    step = Yolo(layout, iou_thr=1, size=size, strides=strides, score_thr=0.1)
    [found] = step.batch([output])
    assert 0 < len(found) <= 84
    assert np.isfinite(found.boxes).all()
    assert np.isfinite(found.scores).all()


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        ([(1, 400, 8)], {}, "expected a shape that only one layout has.*layout: objectness"),
        ([(1, 400, 6)], {}, "end_to_end is .*, objectness is .*, yolox is"),
        ([(1, 300, 6)], {"num_classes": 1}, "end_to_end is .*, objectness is"),
        ([(1, 252, 6)], {}, "end_to_end is .*, objectness is"),  # YOLOv5 of one class, 64 x 64
        ([(1, 8400, 84)], {}, r"Of \[N, anchors, 4 \+ classes\], set num_classes"),
        ([(1, 8400, 84)], {"layout": "anchor_free"}, "Or set another layout, or num_classes"),
        ([(1, 12, 400)], {"num_classes": 3}, "expected a layout of a YOLO head with 3 classes"),
        ([(1, 4, 400)], {"layout": "anchor_free"}, r"expected \[N, 4 \+ classes, anchors\]"),
        ([(1, 400)], {}, r"the model's outputs: expected one of .*, got \[1, 400\]"),
        ([], {}, "got none"),
        ([(1, 66, 4, 4)], {}, "maps of one input at strides 8, 16, 32.*parameter strides"),
        ([(1, 64, 4, 4)], {"strides": (8,)}, r"4 \* 16 \+ classes, h, w.*or bins: 1"),
        ([(1, 99, 8)], {"layout": "yolox", "size": (64, 64)}, "anchors: expected 84 for an input"),
    ],
)
def test_shapes_that_do_not_decide_are_refused_with_what_to_set(shapes, options, message):
    with pytest.raises(TensorError, match=message):
        Yolo(**options).batch([np.zeros(shape, np.float32) for shape in shapes])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"layout": "yolox"}, r"size: expected \[height, width\] of the input for yolox"),
        ({"units": "normalised"}, r"size: expected \[height, width\] of the input tensor"),
        ({"size": [640]}, "size: expected"),
        ({"layout": "yolo"}, "layout: expected"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(params, message):
    with pytest.raises(PostError, match=message):
        make_post("detect.yolo", params)
