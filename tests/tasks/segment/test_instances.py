"""The step ``segment.yolo`` against Ultralytics: detections, and masks from prototypes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.contract import TensorError
from deploy.runtime.results.detections import Detections
from deploy.runtime.vision.placement import Placement
from deploy.tasks.segment import prototypes
from deploy.tasks.segment.yolo import YoloSegment

GOLDEN = Path(__file__).parent / "golden"
IDENTITY = Placement(1.0, 1.0, 320, 320)
CENTRED = Placement(320 / 427, 320 / 427, 240, 427, 0.0, 70.0, 320, 320)


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    with np.load(GOLDEN / "yolo.npz") as file:
        return dict(file)


def found_in(arrays: dict[str, Any]) -> list[Any]:
    step = YoloSegment(num_classes=2, score_thr=0.3, iou_thr=0.5)
    return step.batch([arrays["output"], arrays["prototypes"]])


def masks_of(packed: np.ndarray, width: int) -> np.ndarray:
    return np.unpackbits(packed, axis=-1).astype(bool)[..., :width]


def test_detections_and_masks_are_those_of_ultralytics(arrays):
    for number, found in enumerate(found_in(arrays)):
        expected = arrays[f"rows_{number}"]
        placed = found.placed(IDENTITY)
        assert len(expected) > 5
        rows = np.column_stack((placed.boxes, placed.scores, placed.labels))
        np.testing.assert_allclose(rows, expected[:, :6].clip(0, 320), atol=1e-3)
        masks = masks_of(arrays[f"inside_{number}"], 320)
        assert masks.any(axis=(1, 2)).all()
        np.testing.assert_array_equal(placed.masks.dense(), masks)


def test_masks_have_the_pictures_size_and_lose_the_border(arrays):
    for number, found in enumerate(found_in(arrays)):
        placed = found.placed(CENTRED)
        expected = masks_of(arrays[f"native_{number}"], 427)
        ours = placed.masks.dense()
        # Ultralytics interpolates twice, and rounds the picture's size in the input
        assert ours.shape == expected.shape
        assert (ours & expected).sum() / (ours | expected).sum() > 0.99
        np.testing.assert_allclose(placed.boxes, arrays[f"boxes_{number}"], atol=0.2)


def test_a_large_mask_is_made_in_strips_that_fit_seamlessly(arrays, monkeypatch):
    whole = found_in(arrays)[0].placed(CENTRED).masks.dense()
    monkeypatch.setattr(prototypes, "_MOST_NUMBERS", 500)
    monkeypatch.setattr(prototypes, "_BLOCK", 3)
    np.testing.assert_array_equal(found_in(arrays)[0].placed(CENTRED).masks.dense(), whole)


def two_objects(layout: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two objects, left and right, and prototypes of each half of the input of 8 x 8."""
    left, right = (3, 4, 6, 8, 0.9, 1, 0), (5, 4, 6, 8, 0.75, 0, 1)
    rows = np.zeros((1, 7, 40), np.float32)
    rows[0, :, 3], rows[0, :, 5] = left, right
    if layout == "end_to_end":
        rows = np.zeros((1, 300, 8), np.float32)
        rows[0, 9], rows[0, 5] = (0, 0, 6, 8, 0.9, 0, 1, 0), (2, 0, 8, 8, 0.75, 0, 0, 1)
    halves = np.where(np.arange(4) < 2, 1, -1).astype(np.float32)
    return rows, np.broadcast_to(np.stack((halves, -halves))[None, :, None], (1, 2, 4, 4))


@pytest.mark.parametrize("layout", ["anchor_free", "end_to_end"])
def test_tensors_may_come_in_either_order(layout):
    rows, maps = two_objects(layout)
    for tensors in ([rows, maps], [maps, rows]):
        [found] = YoloSegment().batch(tensors)
        placed = found.placed(Placement(1.0, 1.0, 8, 8))
        assert placed.boxes.tolist() == [[0, 0, 6, 8], [2, 0, 8, 8]]
        first, second = placed.masks.dense().astype(int)
        assert first.tolist() == [[1, 1, 1, 1, 0, 0, 0, 0]] * 8
        assert second.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]] * 8


def test_a_mask_has_no_pixel_that_a_cropped_tensor_does_not_have():
    [found] = YoloSegment().batch(two_objects("anchor_free"))
    placed = found.placed(Placement(1.0, 1.0, 12, 12, -2.0, -2.0, 8, 8))  # two on each side
    assert placed.boxes.tolist() == [[2, 2, 8, 10], [4, 2, 10, 10]]
    assert placed.masks.dense()[0].sum() == 4 * 8
    wide = found.take(np.array([0]))
    wide.boxes[:] = -100, -100, 100, 100
    placed = wide.placed(Placement(1.0, 1.0, 12, 12, -2.0, -2.0, 8, 8))
    assert placed.boxes.tolist() == [[0, 0, 12, 12]]
    assert np.argwhere(placed.masks.dense()[0]).min(axis=0).tolist() == [2, 2]
    assert placed.masks.dense()[0].sum() == 4 * 8


def test_detections_are_chosen_with_their_masks():
    [found] = YoloSegment().batch(two_objects("anchor_free"))
    best = found.above(0.8).placed(Placement(1.0, 1.0, 8, 8))
    assert best.masks.dense().sum() == 4 * 8
    agreement = Detections.agreement([best], [best])
    assert (agreement.matched, agreement.details) == (2, {"mask_iou": 1.0})


@pytest.mark.parametrize(
    "shapes",
    [
        [(0, 7, 100), (0, 2, 4, 4)],
        [(2, 7, 0), (2, 2, 4, 4)],
        [(2, 7, 1000), (2, 2, 4, 4)],
        [(2, 0, 8), (2, 2, 4, 4)],
    ],
)
def test_nothing_is_found_where_nothing_is(shapes):
    layout = "end_to_end" if shapes[0][2] == 8 else "anchor_free"
    found = YoloSegment(layout).batch([np.zeros(shape, np.float32) for shape in shapes])
    placed = [picture.placed(IDENTITY) for picture in found]
    assert [picture.to_json() for picture in placed] == [[]] * shapes[0][0]
    assert all(picture.masks.dense().shape == (0, 320, 320) for picture in placed)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("layout", ["anchor_free", "end_to_end"])
def test_values_that_are_not_finite_take_away_their_own_detection_alone(layout, value):
    rows = np.random.default_rng(2).uniform(0.6, 0.9, (84, 8)).astype(np.float32)
    rows[np.arange(8), np.arange(8)] = value
    output = rows[:, 1:].T if layout == "anchor_free" else rows
    [found] = YoloSegment(layout, iou_thr=1).batch([output[None], np.ones((1, 2, 4, 4), "f")])
    assert 84 - 8 <= len(found.placed(IDENTITY)) < 84


def test_prototypes_that_are_no_numbers_are_in_no_mask():
    rows, maps = two_objects("anchor_free")
    broken = maps.copy()
    broken[0, :, :2] = np.nan
    broken[0, :, 3] = 3e38
    [found] = YoloSegment().batch([rows, broken])
    dense = found.placed(Placement(1.0, 1.0, 8, 8)).masks.dense()
    assert not dense[:, :3].any() and dense[:, 7].any()


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        ([(1, 116, 8400)], {}, r"rows \[N, .*and prototypes \[N, M, h, w\], got \[1, 116, 8400\]"),
        ([(1, 9, 99), (2, 2, 4, 4)], {}, "Name both with inputs:"),
        ([(1, 9, 99), (1, 2, 0, 4)], {}, "Name both with inputs:"),
        ([(1, 9, 99), (1, 2, 4, 4), (1,)], {}, r"got \[1, 9, 99\], \[1, 2, 4, 4\], \[1\]"),
        ([], {}, "got none"),
        ([(1, 5, 99), (1, 2, 4, 4)], {}, r"\[N, 4 \+ classes \+ 2, anchors\] or"),
        ([(1, 9, 99), (1, 2, 4, 4)], {"num_classes": 4}, r"4 \+ 4 \+ 2, anchors.*num_classes"),
        ([(1, 8400, 8), (1, 2, 4, 4)], {}, "expected only one of"),
    ],
)
def test_other_shapes_are_refused_with_what_to_set(shapes, options, message):
    with pytest.raises(TensorError, match=message):
        YoloSegment(**options).batch([np.zeros(shape, np.float32) for shape in shapes])
