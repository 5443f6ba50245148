"""The step ``obb.yolo`` against Ultralytics, areas against Shapely, and how rotated boxes agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.contract import TensorError
from deploy.runtime.vision.placement import Placement
from deploy.tasks.obb.post import YoloObb
from deploy.tasks.obb.result import RotatedBoxes
from deploy.tasks.obb.rotated import (
    box_from_sides,
    corners_of,
    half_sides,
    probiou,
    rotated_nms,
)

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> dict[str, Any]:
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return dict(arrays)


def box(*numbers: float, label: int = 0, score: float = 0.9) -> RotatedBoxes:
    """One rotated box: centre x, centre y, width, height, angle."""
    return RotatedBoxes(
        np.array([score], np.float32), np.array([label]), np.array([numbers], np.float32)
    )


def matched(expected: RotatedBoxes, actual: RotatedBoxes) -> int:
    return RotatedBoxes.agreement([expected], [actual]).matched


@pytest.mark.parametrize("name", ["plain", "agnostic"])
def test_suppression_keeps_the_boxes_that_ultralytics_keeps(name):
    arrays = golden("yolo")
    step = YoloObb(num_classes=3, score_thr=0.3, iou_thr=0.5, agnostic=name == "agnostic")
    for number, found in enumerate(step.batch([arrays["output"]])):
        expected = arrays[f"{name}_{number}"]
        assert len(expected) > 5
        rows = np.column_stack((found.boxes[:, :4], found.scores, found.labels, found.boxes[:, 4]))
        np.testing.assert_allclose(rows, expected, rtol=1e-6)


def test_overlaps_are_those_of_ultralytics_and_areas_those_of_shapely():
    arrays = golden("overlaps")
    boxes = arrays["boxes"]
    np.testing.assert_allclose(probiou(boxes, boxes), arrays["probiou"], atol=1e-9)
    result = RotatedBoxes(np.ones(len(boxes), np.float32), np.zeros(len(boxes), int), boxes)
    iou = np.array([result.overlaps(index, result) for index in range(len(boxes))])
    np.testing.assert_allclose(iou, arrays["iou"], atol=1e-9)
    assert (iou > 0.5).sum() > len(boxes) and (iou == 0).any()
    ours = np.sort(corners_of(boxes.astype(np.float64)), axis=1)
    np.testing.assert_allclose(ours, np.sort(arrays["corners"], axis=1), atol=1e-9)


def plain_fast_nms(boxes, scores, labels, iou_thr):
    order = np.argsort(-scores, kind="stable")
    overlaps = probiou(boxes[order], boxes[order]) > iou_thr
    overlaps &= labels[order][:, None] == labels[order]
    return order[~np.triu(overlaps, 1).any(axis=0)]


def test_suppression_in_blocks_is_that_of_one_matrix():
    rng = np.random.default_rng(0)
    objects = rng.uniform((0, 0, 10, 10, -4), (400, 400, 60, 60, 4), (60, 5))
    boxes = objects[rng.integers(0, 60, 700)] + rng.normal(0, 2, (700, 5)) * (1, 1, 1, 1, 0.05)
    scores, labels = rng.uniform(0, 1, 700), rng.integers(0, 3, 700)
    expected = plain_fast_nms(boxes, scores, labels, 0.4)
    assert 60 < len(expected) < 400
    np.testing.assert_array_equal(rotated_nms(boxes, scores, labels, 0.4, 1_000), expected)
    np.testing.assert_array_equal(rotated_nms(boxes, scores, labels, 0.4, 7), expected[:7])


def test_a_box_falls_to_a_better_one_that_has_fallen_itself():
    boxes = np.zeros((300, 5))
    boxes[:, 0], boxes[:, 2:4] = np.arange(300) * 3, 20
    kept = rotated_nms(boxes, np.linspace(1, 0.5, 300), np.zeros(300), 0.5, 300)
    assert kept.tolist() == [0]


def test_end_to_end_rows_are_taken_as_they_are():
    output = np.zeros((2, 300, 7), np.float32)
    output[1, 5] = 1, 2, 3, 4, 0.5, 7, 0.25
    output[1, 9] = 5, 6, -7, 8, 0.75, 2, -0.5
    first, second = YoloObb().batch([output])
    assert len(first) == 0
    assert second.boxes.tolist() == [[5, 6, 7, 8, -0.5], [1, 2, 3, 4, 0.25]]
    assert second.labels.tolist() == [2, 7]


def test_a_turned_output_is_read_where_the_classes_are_counted():
    output = golden("yolo")["output"]
    first = YoloObb().batch([output])
    second = YoloObb(num_classes=3).batch([np.ascontiguousarray(output.transpose(0, 2, 1))])
    for plain, turned in zip(first, second, strict=True):
        np.testing.assert_array_equal(plain.boxes, turned.boxes)


@pytest.mark.parametrize("shape", [(0, 8, 100), (2, 6, 0), (2, 8, 1000), (2, 0, 7)])
def test_nothing_is_found_where_nothing_is(shape):
    layout = "end_to_end" if shape[2] == 7 else "anchor_free"
    found = YoloObb(layout).batch([np.zeros(shape, np.float32)])
    placed = [picture.placed(Placement(0.5, 0.5, 10, 10)) for picture in found]
    assert [picture.to_json() for picture in placed] == [[]] * shape[0]
    assert rotated_nms(np.zeros((0, 5)), np.zeros(0), np.zeros(0), 0.5, 9).tolist() == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("layout", ["anchor_free", "end_to_end"])
def test_values_that_are_not_finite_take_away_their_own_box_alone(layout, value):
    rows = np.random.default_rng(2).uniform(0.6, 0.9, (84, 7)).astype(np.float32)
    rows[:, :2] = np.arange(168).reshape(84, 2) * 10  # apart
    rows[np.arange(7), np.arange(7)] = value
    output = rows[:, 1:].T if layout == "anchor_free" else rows
    [found] = YoloObb(layout).batch([output[None]])
    assert 84 - 7 <= len(found) < 84
    assert len(found.finite()) == len(found)


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        ([(1, 8400, 20)], {}, r"\[N, 4 \+ classes \+ 1, anchors\] or .*parameter num_classes"),
        ([(1, 8400, 7)], {}, "expected only one of .*end_to_end the second"),
        ([(1, 8400, 7)], {"num_classes": 2}, "expected only one of"),
        ([(1, 20, 8400)], {"num_classes": 16}, r"4 \+ 16 \+ 1, anchors"),
        ([(1, 20, 8400)], {"layout": "end_to_end"}, r"got \[1, 20, 8400\]"),
        ([(1, 2), (1, 2)], {}, r"got \[1, 2\], \[1, 2\]"),
    ],
)
def test_other_shapes_are_refused_with_what_to_set(shapes, options, message):
    with pytest.raises(TensorError, match=message):
        YoloObb(**options).batch([np.zeros(shape, np.float32) for shape in shapes])


def test_the_same_area_agrees_whatever_its_numbers():
    first = box(50, 60, 40, 20, 0.3)
    assert matched(first, first) == 2
    assert matched(first, box(50, 60, 40, 20, 0.3 + np.pi)) == 2
    assert matched(first, box(50, 60, 20, 40, 0.3 + np.pi / 2)) == 2
    assert matched(first, box(50, 60, 20, 40, 0.3)) == 0
    assert matched(first, box(50, 60, 40, 20, 0.3, label=1)) == 0
    assert matched(first, box(50, 60, 40, 18.1, 0.3)) == 2
    assert matched(first, box(50, 60, 40, 17.9, 0.3)) == 0
    assert matched(first, box(950, 60, 40, 20, 0.3)) == 0


def test_boxes_are_counted_from_both_sides_and_faint_ones_not_at_all():
    first, faint = box(50, 60, 40, 20, 0.3), box(500, 60, 40, 20, 0.3, score=0.1)
    nothing = first.take(np.array([], int))
    assert RotatedBoxes.agreement([first], [nothing]).total == 1
    assert RotatedBoxes.agreement([nothing], [first]).total == 1
    assert RotatedBoxes.agreement([faint], [nothing]).share == 1.0
    agreement = RotatedBoxes.agreement([first], [box(50.5, 60, 40, 20, 0.3, score=0.75)])
    assert "2 of 2 rotated boxes matched, counted from both sides, IoU from 0.9" in str(agreement)
    assert "points within 0.500 px, scores within 0.1500" in str(agreement)


def test_a_rotated_box_follows_the_picture():
    placed = box(50, 60, 40, 20, 0.3).placed(Placement(0.5, 0.5, 100, 100, offset_y=10))
    np.testing.assert_allclose(placed.boxes, [[100, 100, 80, 40, 0.3]], rtol=1e-6)
    upright = box(50, 60, 40, 20, 0.0).placed(Placement(0.5, 2.0, 100, 100))
    np.testing.assert_allclose(upright.boxes, [[100, 30, 80, 10, 0]], atol=1e-5)
    turned = box(50, 60, 40, 20, np.pi / 2).placed(Placement(0.5, 2.0, 100, 100))
    np.testing.assert_allclose(turned.boxes, [[100, 30, 20, 40, np.pi / 2]], atol=1e-5)
    assert len(box(1e9, 60, 40, 20, 0).placed(Placement(1e-31, 1, 10, 10))) == 0


def test_scales_that_differ_give_the_nearest_rotated_box():
    """No other box, of those around it, has sides nearer to those of the parallelogram."""
    rng = np.random.default_rng(3)
    for angle in rng.uniform(-np.pi, np.pi, 20):
        along, across = half_sides(np.array([[0, 0, *rng.uniform(1, 9, 2), angle]]))
        sides = along / (1, 1.6), across / (1, 1.6)
        nearest = box_from_sides(np.zeros((1, 2)), *sides)

        def far(boxes, sides=sides):
            ours = half_sides(boxes)
            return sum(((own - side) ** 2).sum() for own, side in zip(ours, sides, strict=True))

        steps = [np.eye(5)[[axis]] * step for axis in (2, 3, 4) for step in (-1e-3, 1e-3)]
        assert far(nearest) <= min(far(nearest + step) for step in steps)


@pytest.mark.parametrize("side", [1.0, 1.0001])
def test_a_square_does_not_turn_where_another_model_sees_it_hardly_longer(side):
    squeezed = Placement(0.5, 0.7, 100, 100)
    first, second = (box(50, 50, 20, 20 * share, 0.4).placed(squeezed) for share in (1, side))
    assert matched(first, second) == 2


def test_rotated_boxes_cross_as_arrays_and_as_json():
    result = box(10, 20, 4, 2, 0, label=1)
    [row] = result.to_json(["plane", "ship"])
    assert row["rotated_box"] == [10, 20, 4, 2, 0] and row["class"] == "ship"
    assert row["corners"] == [[8, 19], [12, 19], [12, 21], [8, 21]]
    assert RotatedBoxes.from_arrays(result.to_arrays()).to_json() == result.to_json()
    assert result.lines(["plane", "ship"]) == [
        "ship             0.900  centre 10.0, 20.0  size 4.0 x 2.0  turned by 0.0 degrees"
    ]
    for boxes in (np.zeros((1, 4), np.float32), np.zeros((1, 5)), np.zeros((2, 5), np.float32)):
        with pytest.raises(ValueError, match=r"boxes: expected float32 \(1, 5\), got"):
            RotatedBoxes.from_arrays({**result.to_arrays(), "boxes": boxes})


def test_a_rotated_box_is_drawn_by_its_four_sides_within_the_picture():
    picture = np.zeros((100, 100, 3), np.uint8)
    drawn = np.asarray(box(50, 50, 60, 30, 0.5).draw(picture, ["ship"]))
    corners = corners_of(np.array([[50.0, 50, 60, 30, 0.5]]))[0]
    middles = ((corners + np.roll(corners, 1, axis=0)) / 2).astype(int)
    assert all(drawn[y - 1 : y + 2, x - 1 : x + 2].any() for x, y in middles)
    assert drawn[50, 50].tolist() == [0, 0, 0]
    far = replace(box(50, 50, 60, 30, 0.5), boxes=np.array([[0, 0, 1e8, 1e8, 0.5]], np.float32))
    assert far.draw(picture).size == (100, 100)
