"""Overlaps of quadrilaterals are those of an independent implementation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deploy.tasks.polygons import quad_overlaps

GOLDEN = Path(__file__).parent / "text" / "golden" / "quads.npz"
SQUARE = np.array([[0, 0], [2, 0], [2, 2], [0, 2]], float)


@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize("offset", [0, 1e5])
def test_overlaps_are_those_of_shapely_whichever_way_corners_turn(turn, offset):
    golden = np.load(GOLDEN)
    quads = golden["quads"].astype(float) + offset
    ious = [quad_overlaps(quad[::turn], quads) for quad in quads]
    assert np.allclose(ious, golden["ious"], atol=1e-6)
    assert (golden["ious"] == 0).any() and ((golden["ious"] > 0.2) & (golden["ious"] < 1)).any()


def test_equal_and_touching_quadrilaterals():
    beside, corner = np.add(SQUARE, (2, 0)), np.add(SQUARE, (2, 2))
    assert quad_overlaps(SQUARE, np.stack([SQUARE, beside, corner])).tolist() == [1, 0, 0]
    turned = np.roll(SQUARE, 1, axis=0)
    assert quad_overlaps(SQUARE, np.stack([turned, SQUARE / 2])).tolist() == [1, 0.25]


def test_what_has_no_area_overlaps_nothing():
    line = np.array([[0, 0], [2, 0], [2, 0], [0, 0]], float)
    assert quad_overlaps(line, np.stack([line, SQUARE, line * 0])).tolist() == [0, 0, 0]
    assert quad_overlaps(SQUARE, np.zeros((0, 4, 2))).tolist() == []
