"""Overlaps of convex polygons with four corners."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.tasks.polygons import quad_overlaps

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
        assert quad_overlaps(first, second[None]) == pytest.approx(iou, abs=1e-9)
        assert quad_overlaps(second, first[None]) == pytest.approx(iou, abs=1e-9)


def test_no_other_polygon_is_no_overlap():
    assert quad_overlaps(SQUARE, np.zeros((0, 4, 2))).shape == (0,)
