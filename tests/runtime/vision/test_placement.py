"""Points, boxes and maps of the tensor find their place in the picture."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.runtime.vision.dense_maps import labels_in_picture, scores_in_picture
from deploy.runtime.vision.placement import Placement

CORNER = Placement(0.5, 0.25, 100, 50)
CENTRED = Placement(0.5, 0.5, 40, 100, offset_y=15, tensor_height=50, tensor_width=50)
CROPPED = Placement(0.5, 0.5, 20, 60, offset_x=-10, tensor_height=10, tensor_width=10)
PLACEMENTS = (CORNER, CENTRED, CROPPED)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_points_of_the_picture_come_back_within_float32(placement):
    rng = np.random.default_rng(0)
    points = rng.uniform(-10, 110, (7, 3, 2))  # polygons of three corners
    there = placement.points_forth(points).astype(float)
    np.testing.assert_allclose(placement.points_back(there), points, atol=1e-5)
    assert placement.points_back(there).dtype == np.float32


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_boxes_are_their_two_corners(placement):
    boxes = np.random.default_rng(1).uniform(0, 50, (5, 4))
    corners = placement.points_back(boxes.reshape(-1, 2)).reshape(-1, 4)
    np.testing.assert_array_equal(placement.boxes_back(boxes), corners)


def test_no_boxes_are_no_boxes():
    assert CENTRED.boxes_back(np.zeros((0, 4), np.float32)).shape == (0, 4)


def test_the_picture_lies_between_its_bands():
    assert CENTRED.in_tensor() == (0, 15, 50, 35)
    assert CENTRED.in_picture() == (0, 0, 100, 40)


def test_of_a_cropped_picture_the_tensor_holds_a_part():
    assert CROPPED.in_tensor() == (0, 0, 10, 10)
    assert CROPPED.in_picture() == (20, 0, 40, 20)


def test_without_its_size_the_tensor_ends_with_the_picture():
    assert CORNER.tensor_size == (25, 25)
    assert CORNER.in_tensor() == (0, 0, 25, 25)


def test_labels_of_a_coarser_map_fill_the_pixels_that_they_cover():
    labels = np.arange(25, dtype=np.uint8).reshape(5, 5)  # of 10 x 10 pixels of the tensor
    found = labels_in_picture(labels, CENTRED)
    assert found.shape == (40, 100)
    assert found.dtype == np.uint8
    rows = np.repeat([1, 2, 3], [10, 20, 10])  # rows 15 to 35 of the tensor, twice as large
    np.testing.assert_array_equal(found, labels[rows][:, np.repeat(np.arange(5), 20)])


def test_pixels_that_were_cropped_away_have_the_label_of_outside():
    found = labels_in_picture(np.ones((10, 10), np.int64), CROPPED, outside=-1)
    assert (found[:, 20:40] == 1).all()
    assert (found[:, :20] == -1).all() and (found[:, 40:] == -1).all()


def test_scores_are_interpolated_between_the_centres_of_cells():
    ramp = np.arange(10, dtype=np.float32) + 0.5  # the x of each cell's centre
    scores = np.broadcast_to(ramp, (2, 10, 10))
    found = scores_in_picture(scores, CROPPED)
    assert found.shape == (2, 20, 60)
    x = np.arange(60) + 0.5
    expected = CROPPED.points_forth(np.stack([x, x], axis=1))[:, 0].clip(0.5, 9.5)
    np.testing.assert_allclose(found[1, 7], expected, atol=1e-5)


def test_scores_of_the_pictures_own_size_are_themselves():
    scores = np.random.default_rng(2).normal(size=(3, 6, 7)).astype(np.float32)
    whole = Placement(1, 1, 6, 7)
    np.testing.assert_array_equal(scores_in_picture(scores, whole), scores)
    best = scores.argmax(0)
    np.testing.assert_array_equal(labels_in_picture(best, whole), best)
