"""The step ``pose.yolo`` against Ultralytics, OKS against pycocotools, and how poses agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.contract import TensorError
from deploy.runtime.execution.post_steps import PostError, make_post
from deploy.runtime.vision.placement import Placement
from deploy.tasks.pose.post import YoloPose
from deploy.tasks.pose.result import Poses
from deploy.tasks.pose.similarity import similarity

GOLDEN = Path(__file__).parent / "golden"
CENTRED = Placement(320 / 427, 320 / 427, 240, 427, offset_y=70.0)


def golden(name: str) -> dict[str, Any]:
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return dict(arrays)


def person(count: int = 17, label: int = 0, score: float = 0.9, at: float = 50.0) -> Poses:
    """One pose in a box of 60 x 100 pixels, all of it visible."""
    points = np.random.default_rng(0).uniform(0, 1, (1, count, 3)) * (60, 100, 0) + (at, at, 1)
    return Poses(
        np.array([score], np.float32),
        np.array([label]),
        np.array([[at, at, at + 60, at + 100]], np.float32),
        points.astype(np.float32),
    )


def moved(pose: Poses, pixels: float, keypoints: slice = slice(None)) -> Poses:
    points = pose.keypoints.copy()
    points[:, keypoints, 0] += pixels
    return replace(pose, keypoints=points)


def matched(expected: Poses, actual: Poses) -> int:
    agreement = Poses.agreement([expected], [actual])
    assert agreement.total == len(expected) + len(actual)
    return agreement.matched


def test_suppression_keeps_the_poses_that_ultralytics_keeps():
    arrays = golden("yolo")
    pictures = YoloPose(keypoints=4, num_classes=2, score_thr=0.3, iou_thr=0.5).batch(
        [arrays["output"]]
    )
    for number, found in enumerate(pictures):
        expected = arrays[f"rows_{number}"]
        assert len(expected) > 5
        rows = np.column_stack((found.boxes, found.scores, found.labels))
        np.testing.assert_allclose(rows, expected[:, :6], atol=1e-3)
        np.testing.assert_allclose(found.keypoints.reshape(len(found), -1), expected[:, 6:])


def test_keypoints_follow_the_picture_as_in_ultralytics():
    arrays = golden("yolo")
    step = YoloPose(keypoints=4, num_classes=2, score_thr=0.3, iou_thr=0.5)
    for number, found in enumerate(step.batch([arrays["output"]])):
        placed = found.placed(CENTRED)
        clipped = placed.keypoints.clip(0, (427, 240, 1))  # as Ultralytics does
        # which rounds the picture's height in the input from 179.9 to 180
        np.testing.assert_allclose(clipped, arrays[f"placed_{number}"], atol=0.2)
        np.testing.assert_array_equal(placed.keypoints[..., 2], found.keypoints[..., 2])


def test_oks_is_that_of_pycocotools():
    arrays = golden("oks")
    labelled = arrays["truths"][..., 2] > 0
    for number, (truth, area) in enumerate(zip(arrays["truths"], arrays["areas"], strict=True)):
        near = similarity(truth[:, :2], arrays["points"][..., :2], float(area))
        oks = near[:, labelled[number]].mean(axis=1)
        np.testing.assert_allclose(oks, arrays["oks"][number], rtol=1e-9)
    assert arrays["oks"].max() > 0.5 > arrays["oks"].min()


def test_a_turned_output_and_one_of_two_numbers_per_keypoint_are_read():
    output = np.zeros((1, 4 + 1 + 3 * 2, 40), np.float32)
    output[0, :, 7] = 50, 40, 20, 10, 0.9, 1, 2, 3, 4, 5, 6
    [plain] = YoloPose(keypoints=3, dims=2).batch([output])
    [turned] = YoloPose(keypoints=3, dims=2, num_classes=1).batch([output.transpose(0, 2, 1)])
    for found in (plain, turned):
        assert found.boxes.tolist() == [[40, 35, 60, 45]]
        assert found.keypoints.tolist() == [[[1, 2, 1], [3, 4, 1], [5, 6, 1]]]


def test_end_to_end_rows_are_sorted_and_cut_at_the_threshold():
    output = np.zeros((2, 300, 57), np.float32)
    output[1, 5, :8] = 1, 2, 3, 4, 0.5, 1, 7, 8
    output[1, 9, :8] = 5, 6, 7, 8, 0.75, 0, 9, 10
    first, second = YoloPose().batch([output])
    assert len(first) == 0 and first.keypoints.shape == (0, 17, 3)
    assert second.boxes.tolist() == [[5, 6, 7, 8], [1, 2, 3, 4]]
    assert second.labels.tolist() == [0, 1]
    assert second.keypoints[:, 0, :2].tolist() == [[9, 10], [7, 8]]


def test_normalised_boxes_and_keypoints_are_scaled_to_the_size_of_the_input():
    output = np.zeros((1, 56, 100), np.float32)
    output[0, :7, 3] = 0.5, 0.5, 0.5, 1.0, 0.9, 0.25, 0.75
    [found] = YoloPose(units="normalised", size=(200, 400)).batch([output])
    assert found.boxes.tolist() == [[100, 0, 300, 200]]
    assert found.keypoints[0, 0].tolist() == [100, 150, 0]


def test_double_precision_is_read_and_what_float32_does_not_hold_is_no_pose():
    output = np.zeros((1, 56, 100))
    output[0, :6, 3] = 50, 50, 20, 20, 0.9, 0.25
    output[0, :6, 4] = 80, 80, 20, 20, 0.9, 1e300
    [found] = YoloPose().batch([output])
    assert found.boxes.tolist() == [[40, 40, 60, 60]]


@pytest.mark.parametrize("shape", [(0, 56, 100), (2, 56, 0), (2, 56, 8400), (2, 0, 57)])
def test_nothing_is_found_where_nothing_is(shape):
    layout = "end_to_end" if shape[2] == 57 else "anchor_free"
    found = YoloPose(layout).batch([np.zeros(shape, np.float32)])
    assert [len(picture) for picture in found] == [0] * shape[0]
    assert [picture.placed(CENTRED).to_json() for picture in found] == [[]] * shape[0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("layout", ["anchor_free", "end_to_end"])
def test_values_that_are_not_finite_take_away_their_own_pose_alone(layout, value):
    rows = np.random.default_rng(2).uniform(0.6, 0.9, (84, 57)).astype(np.float32)
    rows[np.arange(57), np.arange(57)] = value
    output = rows[:, 1:].T if layout == "anchor_free" else rows
    [found] = YoloPose(layout, iou_thr=1).batch([output[None]])
    assert 84 - 57 <= len(found) < 84
    assert len(found.finite()) == len(found)


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        ([(1, 68, 8400)], {}, r"expected \[N, 4 \+ 1 \+ 51, .*Set the parameters keypoints, dims"),
        ([(1, 300, 69)], {}, r"or \[N, objects, 6 \+ 51\], got \[1, 300, 69\]"),
        ([(1, 8400, 69)], {"keypoints": 21}, "only one of .*Set the parameter layout: anchor_free"),
        ([(1, 56)], {}, r"got \[1, 56\]"),
        ([(1, 56, 99), (1, 2)], {}, r"got \[1, 56, 99\], \[1, 2\]"),
        ([], {}, "got none"),
        ([(1, 56, 99)], {"layout": "end_to_end"}, r"got \[1, 56, 99\]"),
    ],
)
def test_other_shapes_are_refused_with_what_to_set(shapes, options, message):
    with pytest.raises(TensorError, match=message):
        YoloPose(**options).batch([np.zeros(shape, np.float32) for shape in shapes])


def test_parameters_that_do_not_fit_are_refused():
    with pytest.raises(PostError, match=r"size: expected \[height, width\] of the input tensor"):
        make_post("pose.yolo", {"units": "normalised"})
    with pytest.raises(PostError, match="dims: expected 2 or 3"):
        make_post("pose.yolo", {"dims": 4})


def test_poses_agree_up_to_a_shift_of_four_hundredths_of_their_size():
    pose = person()
    size = np.sqrt(60 * 100)
    assert matched(pose, pose) == 2
    assert matched(pose, moved(pose, 0.042 * size)) == 2
    assert matched(pose, moved(pose, 0.045 * size)) == 0
    assert matched(person(5), moved(person(5), 0.045 * size)) == 2
    assert matched(person(5), moved(person(5), 0.047 * size)) == 0


def test_poses_of_another_label_box_number_or_visibility_of_keypoints_disagree():
    pose = person()
    assert matched(pose, person(label=1)) == 0
    assert matched(pose, replace(pose, boxes=pose.boxes * np.float32(1.2))) == 0
    assert matched(pose, person(5)) == 0
    hidden = pose.keypoints * np.array([1, 1, 0], np.float32)
    assert matched(pose, replace(pose, keypoints=hidden)) == 0
    near = pose.keypoints * np.array([1, 1, 0.93], np.float32)
    assert matched(pose, replace(pose, keypoints=near)) == 2


def test_keypoints_that_no_model_sees_do_not_count_unless_there_are_no_others():
    pose = person()
    points = pose.keypoints.copy()
    points[:, 5:, 2] = 0.1
    partly = replace(pose, keypoints=points)
    assert matched(partly, moved(partly, 500, slice(5, None))) == 2
    points[..., 2] = 0.1
    unseen = replace(pose, keypoints=points)
    assert matched(unseen, moved(unseen, 500, slice(5, None))) == 0


def test_poses_are_counted_from_both_sides_and_faint_ones_not_at_all():
    pose, faint = person(), person(score=0.1, at=300.0)
    nothing = pose.take(np.array([], int))
    assert Poses.agreement([pose], [nothing]).total == 1
    assert Poses.agreement([nothing], [pose]).total == 1
    assert Poses.agreement([faint], [nothing]).share == 1.0
    assert Poses.agreement([], []).details == {"smallest_oks": 1.0}
    agreement = Poses.agreement([pose], [moved(pose, 1.0)])
    assert str(agreement).startswith("2 of 2 poses matched, counted from both sides, OKS from 0.9")
    assert "points within 1.000 px, scores within 0.0000" in str(agreement)


def test_boxes_without_an_area_and_poses_without_keypoints_agree_with_themselves():
    pose = person()
    assert similarity(np.ones((2, 2)), np.ones((1, 2, 2)), 0.0).tolist() == [[1, 1]]
    bare = replace(pose, keypoints=np.zeros((1, 0, 3), np.float32))
    assert matched(bare, bare) == 2
    assert bare.lines()[0].endswith("0 of 0 keypoints visible")


def test_a_pose_crosses_as_arrays_and_as_json():
    pose = person(2)
    back = Poses.from_arrays(pose.to_arrays())
    assert back.to_json(["person"]) == pose.to_json(["person"])
    [row] = pose.to_json(["person"])
    assert list(row) == ["box", "score", "label", "class", "keypoints"]
    assert np.shape(row["keypoints"]) == (2, 3)
    assert "class" not in person(label=3).to_json(["person"])[0]
    assert pose.lines(["person"])[0].endswith("2 of 2 keypoints visible")
    assert pose.summary() == "1 found"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": np.zeros((1, 17, 2), np.float32)}, r"expected float32 \(1, any, 3\), got"),
        ({"keypoints": np.zeros((2, 17, 3), np.float32)}, "keypoints: expected"),
        ({"keypoints": np.zeros((1, 17, 3))}, r"got float64\[1, 17, 3\]"),
        ({"boxes": np.zeros((1, 5), np.float32)}, r"boxes: expected float32 \(1, 4\)"),
        ({"labels": np.zeros(1, np.float32)}, "labels: expected int64"),
        ({"labels": np.array([-1])}, "expected none below 0"),
        ({"scores": np.array(1, np.float32)}, "scores: expected float32"),
        ({"scores": np.array([np.nan], np.float32)}, "expected finite numbers"),
        ({"keypoints": np.full((1, 17, 3), np.inf, np.float32)}, "expected finite numbers"),
    ],
)
def test_arrays_of_a_stranger_that_are_no_poses_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Poses.from_arrays({**person().to_arrays(), **change})


def test_a_pose_that_leaves_float32_in_the_picture_is_dropped():
    pose = moved(person(), 1e9)
    tiny = Placement(1e-31, 1e-31, 10, 10)
    assert len(pose.placed(tiny)) == 0


def test_visible_keypoints_are_drawn_with_lines_between_them():
    picture = np.zeros((220, 200, 3), np.uint8)
    pose = person()
    boxes = np.asarray(replace(pose, keypoints=pose.keypoints * np.float32(0)).draw(picture))
    drawn = np.asarray(pose.draw(picture))
    assert (drawn != boxes).any(axis=2).sum() > 300
    for x, y in pose.keypoints[0, :, :2].astype(int):
        assert (drawn[y - 1 : y + 2, x - 1 : x + 2] != boxes[y - 1 : y + 2, x - 1 : x + 2]).any()
    dots = np.asarray(person(5).draw(picture))
    assert 0 < (dots != boxes).any(axis=2).sum() < (drawn != boxes).any(axis=2).sum()


def test_keypoints_far_outside_of_the_picture_are_drawn_in_no_time():
    points = person().keypoints * np.array([1e7, -1e7, 1], np.float32)
    drawn = replace(person(), keypoints=points).draw(np.zeros((50, 50, 3), np.uint8))
    assert drawn.size == (50, 50)
