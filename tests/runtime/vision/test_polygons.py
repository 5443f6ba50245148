"""Areas and overlaps of convex polygons."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.runtime.vision.polygons import area, overlaps

SQUARE = np.array([[0, 0], [4, 0], [4, 4], [0, 4]], np.float64)
DIAMOND = np.array([[2, -2], [6, 2], [2, 6], [-2, 2]], np.float64)  # around the square
TRIANGLE = np.array([[0, 0], [4, 0], [0, 4], [0, 4]], np.float64)


def moved(x: float, y: float) -> np.ndarray:
    return SQUARE + np.array([x, y])


@pytest.mark.parametrize(
    ("other", "iou"),
    [
        (SQUARE, 1),
        (SQUARE[::-1], 1),  # the other way around
        (np.roll(SQUARE, 1, axis=0), 1),
        (moved(2, 0), 8 / 24),
        (moved(2, 2), 4 / 28),
        (moved(4, 0), 0),  # side by side
        (moved(9, 9), 0),
        (SQUARE / 2 + 1, 4 / 16),  # inside
        (SQUARE * 3 - 4, 16 / 144),  # around
        (DIAMOND, 16 / 32),
        (TRIANGLE, 8 / 16),
        (SQUARE * [1, 0], 0),
        (SQUARE * 0 + 2, 0),
    ],
)
def test_overlaps_are_those_of_the_areas(other, iou):
    for offset in (0, 1e6):
        first, second = SQUARE + offset, other + offset
        assert overlaps(first, second[None]) == pytest.approx(iou, abs=1e-9)
        assert overlaps(second, first[None]) == pytest.approx(iou, abs=1e-9)


def test_polygons_of_several_numbers_of_corners_overlap():
    angles = np.arange(64) * 2 * np.pi / 64
    circle = np.stack((np.cos(angles), np.sin(angles)), axis=1) * 2 + 2
    assert overlaps(SQUARE, circle[None]) == pytest.approx(area(circle) / 16)
    assert overlaps(SQUARE, np.zeros((0, 4, 2))).shape == (0,)


def test_an_area_says_which_way_a_polygon_turns_and_is_exact_far_from_the_origin():
    assert area(np.stack((SQUARE, SQUARE[::-1], TRIANGLE)) + 1e8).tolist() == [16, -16, 8]
