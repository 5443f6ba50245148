"""Which detections of two runs are the same."""

import numpy as np
import pytest

from deploy.runtime.results.detections import Detections
from deploy.runtime.results.matching import match_detections


def found(*rows: tuple[float, float, int]) -> Detections:
    """A square of side 10 at x, with its score and label."""
    boxes = [[x, 0, x + 10, 10] for x, _, _ in rows]
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([label for _, _, label in rows], np.int64),
    )


def test_equal_detections_match():
    result = match_detections(found((0, 0.9, 1), (50, 0.8, 2)), found((50, 0.7, 2), (0.1, 0.9, 1)))
    assert (result.matched, result.missing, result.extra) == (2, 0, 0)
    assert result.box == pytest.approx(0.1, abs=1e-5)
    assert result.score == pytest.approx(0.1, abs=1e-5)


def test_another_label_or_place_does_not_match():
    result = match_detections(found((0, 0.9, 1), (50, 0.8, 2)), found((0, 0.9, 2), (55, 0.8, 2)))
    assert (result.matched, result.missing, result.extra) == (0, 2, 2)


def test_one_detection_is_the_partner_of_one():
    result = match_detections(found((0, 0.9, 1), (0, 0.8, 1)), found((0, 0.9, 1)))
    assert (result.matched, result.missing, result.extra) == (1, 1, 0)


def test_nothing_matches_nothing():
    assert match_detections(found(), found()).matched == 0


def test_detections_survive_json():
    one = found((0, 0.9, 1), (50, 0.8, 0))
    rows = one.to_json(["zero", "one"])
    assert [row["class"] for row in rows] == ["one", "zero"]
    back = Detections.from_json(rows)
    np.testing.assert_array_equal(back.boxes, one.boxes)
    np.testing.assert_array_equal(back.labels, one.labels)


def test_arrays_of_different_length_are_no_detections():
    with pytest.raises(ValueError, match=r"expected shapes \(n, 4\), \(n,\), \(n,\)"):
        Detections(np.zeros((2, 4), np.float32), np.zeros(1, np.float32), np.zeros(2, np.int64))
