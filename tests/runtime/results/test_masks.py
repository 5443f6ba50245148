"""Masks beside the boxes: kept small, compared, written as JSON and drawn."""

import numpy as np
import pytest

from deploy.runtime.results.detections import Detections
from deploy.runtime.results.masks import Masks
from deploy.runtime.results.matching import match_detections
from deploy.runtime.vision.image import Placement

HEIGHT, WIDTH = 12, 20


def square(x, y, side=4):
    """A full square, with its corner."""
    return (x, y), np.ones((side, side), bool)


def masks(*squares):
    corners = np.array([corner for corner, _ in squares], np.int64).reshape(-1, 2)
    return Masks(HEIGHT, WIDTH, corners, [crop for _, crop in squares])


def found(*squares, label=0):
    count = len(squares)
    box = np.tile(np.array([[2, 2, 10, 10]], np.float32), (count, 1))
    scores = np.linspace(0.9, 0.5, count, dtype=np.float32)
    return Detections(box, scores, np.full(count, label), masks(*squares))


@pytest.mark.parametrize(
    ("place", "iou"), [((3, 2), 1), ((5, 2), 1 / 3), ((5, 4), 1 / 7), ((7, 2), 0), ((15, 8), 0)]
)
def test_two_masks_overlap_by_what_both_cover(place, iou):
    one, other = masks(square(3, 2)), masks(square(0, 0), square(*place))
    assert one.iou(0, other, 1) == pytest.approx(iou)
    assert other.iou(1, one, 0) == pytest.approx(iou)


def test_two_empty_masks_are_the_same():
    nothing = (0, 0), np.zeros((3, 3), bool)
    assert masks(nothing).iou(0, masks(nothing), 0) == 1
    assert masks(nothing).iou(0, masks(square(0, 0)), 0) == 0


def test_masks_survive_json():
    rng = np.random.default_rng(0)
    ragged = (4, 1), rng.random((9, 13)) < 0.3
    one = found(square(3, 2), ragged, ((0, 0), np.zeros((5, 5), bool)))
    back = Detections.from_json(one.to_json())
    np.testing.assert_array_equal(back.masks.dense(), one.masks.dense())
    assert back.masks.dense().shape == (3, HEIGHT, WIDTH)


@pytest.mark.parametrize("counts", [[240, 1], [-1, 241], [10**12, 5], []])
def test_run_lengths_of_another_size_are_refused(counts):
    with pytest.raises(ValueError, match="run lengths that are not of 12 x 20 pixels"):
        Masks.from_run_lengths([{"size": [HEIGHT, WIDTH], "counts": counts}])


def test_masks_of_two_sizes_are_refused():
    rows = [{"size": [1, 2], "counts": [2]}, {"size": [2, 1], "counts": [2]}]
    with pytest.raises(ValueError, match="masks of several sizes"):
        Masks.from_run_lengths(rows)


def test_there_is_a_mask_for_each_detection():
    with pytest.raises(ValueError, match="expected 1 masks, got 2"):
        Detections(
            np.zeros((1, 4), np.float32),
            np.zeros(1, np.float32),
            np.zeros(1, int),
            masks(square(0, 0), square(1, 1)),
        )


def test_the_same_box_with_another_mask_is_no_match():
    one = found(square(3, 2), square(9, 2))
    result = match_detections(one, found(square(9, 2)))
    assert (result.matched, result.missing) == (1, 1)
    assert result.mask == 1
    assert match_detections(one, found(square(4, 2))).matched == 0


def test_the_least_overlap_of_masks_is_told():
    result = match_detections(
        found(square(2, 2, 8)), found(((2, 2), np.ones((8, 7), bool))), iou=0.8
    )
    assert result.mask == pytest.approx(7 / 8)


def test_without_masks_boxes_alone_are_compared():
    plain = Detections.from_json([{"box": [2, 2, 10, 10], "score": 0.9, "label": 0}])
    result = match_detections(plain, found(square(3, 2)))
    assert (result.matched, result.mask) == (1, None)


def test_pixels_of_a_mask_are_drawn_in_the_colour_of_its_label():
    picture = np.full((40, 60, 3), 200, np.uint8)
    crop = np.zeros((20, 30), bool)
    crop[5:15] = True
    box = np.array([[0, 0, 59, 39]], np.float32)
    one = Detections(
        box, np.ones(1, np.float32), np.zeros(1, int), Masks(40, 60, np.array([[20, 15]]), [crop])
    )
    drawn = np.asarray(one.draw(picture, ["thing"]))
    inside, beside = drawn[21, 45], drawn[16, 45]
    np.testing.assert_array_equal(beside, picture[16, 45])
    assert inside[0] > inside[1] + 40  # label 0 is red
    assert picture.min() == 200


def test_detections_without_masks_move_as_boxes():
    plain = Detections.from_json([{"box": [2, 2, 10, 10], "score": 0.9, "label": 0}])
    moved = plain.placed(Placement(0.5, 0.25, 100, 100))
    np.testing.assert_array_equal(moved.boxes, [[4, 8, 20, 40]])


def test_masks_are_gone_through_one_by_one():
    both = masks(square(3, 2), square(7, 2))
    assert [mask.shape for mask in both] == [(HEIGHT, WIDTH)] * 2
    np.testing.assert_array_equal(np.stack(list(both)), [both[0], both[1]])
