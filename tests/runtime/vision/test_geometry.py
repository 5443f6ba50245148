"""Sizes and places of pictures in the tensor, and the way back through every mode."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from backends.contract import Dynamic
from deploy.runtime.vision.geometry import Fit, Size, fit, scaled_size, tensor_size
from deploy.runtime.vision.pre import Pre

BASE = Pre("image", 64, 96, (0.0,) * 3, (255.0,) * 3)
MODES = {
    "corner": BASE,
    "centre": replace(BASE, align="centre"),
    "stretch": replace(BASE, resize="stretch"),
    "crop": replace(BASE, resize="crop"),
    "crop of a larger one": replace(BASE, resize="crop", cover=(73, 110)),
    "crop by the shorter side": replace(BASE, resize="crop", cover=(71, 71)),
}
PICTURES = [
    Size(*size)
    for size in (
        (1, 1),
        (33, 47),
        (47, 33),
        (640, 481),
        (481, 1279),
        (96, 64),
        (5, 2001),
        (2001, 5),
    )
]
CASES = list(product(MODES, PICTURES))


def placed(mode: str, picture: Size) -> Fit:
    pre = MODES[mode]
    return fit(pre, scaled_size(pre, picture), Size(pre.width, pre.height))


@pytest.mark.parametrize(("mode", "picture"), CASES)
def test_points_of_a_picture_come_back_from_the_tensor(mode, picture):
    placement = placed(mode, picture).placement(picture)
    points = np.random.default_rng(0).uniform(0, 1, (50, 2)) * picture
    back = placement.points_back(placement.points_forth(points))
    # float32 has 24 bits, of a coordinate that cropping may move far beyond the tensor
    exact = np.abs(placement.points_forth(points)).max() * 2.0**-23
    slack = exact / min(placement.scale_x, placement.scale_y) + np.abs(points).max() * 2.0**-23
    np.testing.assert_allclose(back, points, rtol=0, atol=slack)


@pytest.mark.parametrize(("mode", "picture"), CASES)
def test_the_corners_of_the_picture_are_those_of_what_is_written(mode, picture):
    made = placed(mode, picture)
    placement = made.placement(picture)
    assert placement.in_tensor() == pytest.approx(made.in_tensor, abs=1e-9)
    corners = np.array([[made.left, made.top, *np.add((made.left, made.top), made.scaled)]])
    back = placement.boxes_back(corners.astype(float))
    np.testing.assert_allclose(back, [[0, 0, *picture]], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("mode", "picture"), CASES)
def test_some_of_the_picture_is_in_the_tensor_and_nothing_beyond_it(mode, picture):
    window = placed(mode, picture).in_tensor
    assert 0 <= window.left < window.right <= 96
    assert 0 <= window.top < window.bottom <= 64


@pytest.mark.parametrize("picture", [size for size in PICTURES if min(size) > 30])
@pytest.mark.parametrize("mode", ["corner", "centre", "crop", "crop by the shorter side"])
def test_the_ratio_of_the_sides_is_kept_within_a_pixel(mode, picture):
    scaled = placed(mode, picture).scaled
    assert scaled.width / picture.width * picture.height == pytest.approx(scaled.height, abs=1.5)


@pytest.mark.parametrize("picture", PICTURES)
def test_a_crop_without_more_leaves_no_band(picture):
    assert placed("crop", picture).in_tensor == (0, 0, 96, 64)


@pytest.mark.parametrize("picture", PICTURES)
def test_letterboxing_crops_nothing(picture):
    for mode in ("corner", "centre"):
        made = placed(mode, picture)
        assert made.in_tensor.size == made.scaled


def test_the_edge_of_a_cropped_picture_lies_outside_of_the_tensor():
    made = placed("crop", Size(400, 100))  # 256 x 64 of which the middle 96 columns are taken
    assert (made.left, made.top, made.scaled) == (-80, 0, (256, 64))
    placement = made.placement(Size(400, 100))
    assert placement.in_picture() == (125, 0, 275, 100)
    np.testing.assert_allclose(
        placement.boxes_back(np.array([[0, 0, 96, 64]])), [[125, 0, 275, 100]]
    )
    np.testing.assert_allclose(placement.points_forth(np.zeros((1, 2))), [[-80, 0]])


VARYING = replace(BASE, height=256, width=256, multiple=32)
SIDE = Dynamic("side", 64, 128, 256, multiple=32)


@pytest.mark.parametrize(
    ("pictures", "size"),
    [
        ([Size(640, 480)], (256, 192)),
        ([Size(480, 640)], (192, 256)),
        ([Size(1000, 100)], (256, 64)),  # 26 rows, of at least 64
        ([Size(640, 100), Size(480, 640)], (256, 256)),
        ([Size(250, 180)], (256, 192)),
    ],
)
def test_a_tensor_of_dynamic_size_ends_at_the_next_multiple(pictures, size):
    scaled = [scaled_size(VARYING, picture) for picture in pictures]
    assert tensor_size(VARYING, scaled, SIDE, SIDE) == size
    assert tensor_size(BASE, scaled, 64, 96) == (96, 64)


def test_only_the_side_that_varies_follows_the_picture():
    assert tensor_size(VARYING, [Size(256, 40)], 256, SIDE) == (256, 256)
    assert tensor_size(VARYING, [Size(100, 256)], 256, SIDE) == (128, 256)
