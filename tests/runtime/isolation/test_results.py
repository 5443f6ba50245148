"""Results cross between processes as they are, with their masks."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.runtime.isolation.results import pack_results, unpack_results
from deploy.runtime.results.detections import Detections
from deploy.runtime.results.masks import Masks


def some(count: int, seed: int, masked: bool) -> Detections:
    random = np.random.default_rng(seed)
    corners = random.integers(0, 20, (count, 2))
    shapes = random.integers(0, 30, (count, 2))
    crops = [random.random(shape) > 0.5 for shape in shapes]
    return Detections(
        random.random((count, 4)).astype(np.float32),
        random.random(count).astype(np.float32),
        random.integers(0, 5, count),
        Masks(50, 60, corners, crops) if masked else None,
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("counts", [(), (0,), (1,), (3, 0, 7)])
def test_what_is_packed_comes_out_equal(counts, masked):
    pictures = [some(count, count, masked) for count in counts]
    copies = unpack_results(Detections, pack_results(pictures), len(pictures))
    assert len(copies) == len(pictures)
    for copy, picture in zip(copies, pictures, strict=True):
        assert copy.to_json() == picture.to_json()
        assert copy.boxes.dtype == picture.boxes.dtype
        assert (copy.masks is None) == (picture.masks is None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("0.boxes", np.zeros((3, 5), np.float32)),
        ("0.scores", np.zeros(2, np.float32)),
        ("0.size", np.array((10, 10))),
        ("0.size", np.array((10, 10, 10))),
        ("0.corners", np.full((3, 2), -1)),
        ("0.corners", np.zeros((2, 2), np.int64)),
        ("0.crop_shapes", np.full((3, 2), -1)),
        ("0.crop_shapes", np.full((3, 2), 1000)),
        ("0.crop_shapes", np.full((3, 2), 1)),
        ("0.crops", np.zeros(3, np.bool_)),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(name, value):
    arrays = {**pack_results([some(3, 1, masked=True)]), name: value}
    with pytest.raises(ValueError, match=r"."):
        unpack_results(Detections, arrays, 1)


def test_a_missing_picture_is_refused():
    with pytest.raises(KeyError, match="boxes"):
        unpack_results(Detections, pack_results([some(3, 1, masked=False)]), 2)
