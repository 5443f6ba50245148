"""Detections of a file or of another process are checked before anybody reads them."""

import numpy as np
import pytest

from deploy.runtime.results.detections import Detections

ARRAYS = Detections(
    np.ones((1, 4), np.float32), np.ones(1, np.float32), np.zeros(1, np.int64)
).to_arrays()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.array([-1])}, "labels from 0 on"),
        ({"labels": np.zeros(1, np.float32)}, "labels of integers"),
        ({"boxes": np.ones((1, 4), np.int64)}, "boxes and scores of floats"),
        ({"scores": np.ones(1, "U1")}, "boxes and scores of floats"),
        ({"scores": np.ones(2, np.float32)}, r"expected shapes \(n, 4\)"),
    ],
)
def test_arrays_that_are_no_detections_are_refused(changes, message):
    assert Detections.from_arrays(ARRAYS).labels.tolist() == [0]
    with pytest.raises(ValueError, match=message):
        Detections.from_arrays({**ARRAYS, **changes})
