"""Maps of scores become the class of each pixel of the picture."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from backends.contract import TensorError
from deploy.runtime.results.masks import Masks
from deploy.runtime.vision.placement import Placement
from deploy.tasks.segment import post
from deploy.tasks.segment.post import Segment
from deploy.tasks.segment.result import NO_CLASS, SegmentationMap

ODD = Placement(0.37, 0.41, 31, 45, offset_x=3.2, offset_y=-2.5, tensor_height=16, tensor_width=24)


def plainly(scores, placement):
    """Bilinear scores at the centre of each pixel, one by one, and the largest of them."""
    classes, height, width = scores.shape
    labels = np.zeros((placement.height, placement.width), int)
    for y in range(placement.height):
        for x in range(placement.width):
            row = ((y + 0.5) * placement.scale_y + placement.offset_y) * height / 16 - 0.5
            column = ((x + 0.5) * placement.scale_x + placement.offset_x) * width / 24 - 0.5
            row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
            top, left = int(row), int(column)
            low, right = min(top + 1, height - 1), min(left + 1, width - 1)
            down, along = row - top, column - left
            blended = [
                (1 - down) * ((1 - along) * plane[top, left] + along * plane[top, right])
                + down * ((1 - along) * plane[low, left] + along * plane[low, right])
                for plane in scores.astype(float)
            ]
            labels[y, x] = max(range(classes), key=blended.__getitem__)
    return labels


def test_scores_are_resized_and_the_largest_wins():
    scores = np.random.default_rng(0).normal(size=(1, 4, 8, 12)).astype(np.float32)
    (unplaced,) = Segment().batch([scores])
    placed = unplaced.placed(ODD)
    assert placed.labels.shape == (31, 45) and placed.labels.dtype == np.uint16
    seen = placed.labels != NO_CLASS
    assert (placed.labels == plainly(scores[0], ODD))[seen].mean() > 0.999  # but for a tie


def test_a_large_picture_is_resized_in_strips_that_fit_seamlessly(monkeypatch):
    scores = np.random.default_rng(1).normal(size=(1, 3, 8, 12)).astype(np.float32)
    whole = Segment().batch([scores])[0].placed(ODD)
    monkeypatch.setattr(post, "_MOST_NUMBERS", 3 * 45 * 4)
    assert (Segment().batch([scores])[0].placed(ODD).labels == whole.labels).all()


def test_pixels_that_the_tensor_does_not_have_get_no_class_of_scores_or_labels():
    scores = np.random.default_rng(2).normal(size=(1, 2, 16, 24)).astype(np.float32)
    rows = (np.arange(31) + 0.5) * 0.41 - 2.5
    outside = np.repeat(((rows < 0) | (rows >= 16))[:, None], 45, axis=1)
    assert outside.any()
    for tensor in (scores, scores.argmax(axis=1)):
        labels = Segment().batch([tensor])[0].placed(ODD).labels
        assert ((labels == NO_CLASS) == outside).all()


def in_its_grid(step: Segment, tensor: np.ndarray) -> np.ndarray:
    return step.batch([tensor])[0].placed(Placement(1.0, 1.0, *tensor.shape[-2:])).labels


@pytest.mark.parametrize("scores", ["logits", "probabilities"])
def test_one_class_has_a_threshold(scores):
    values = np.array([0.1, 0.59, 0.61, 0.9], np.float32).reshape(1, 1, 2, 2)
    tensor = np.log(values / (1 - values)) if scores == "logits" else values
    assert in_its_grid(Segment(scores, threshold=0.6), tensor).tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 1, 3, 4)])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_labels_are_taken_as_they_are(shape, dtype):
    labels = (np.arange(24) % 7).astype(dtype).reshape(shape)
    first, second = Segment().batch([labels])
    assert first.labels.tolist() == labels.reshape(2, 3, 4)[0].tolist()
    doubled = second.placed(Placement(0.5, 0.5, 6, 8))
    assert doubled.labels.tolist() == second.labels.repeat(2, 0).repeat(2, 1).tolist()


def test_many_classes_and_labels_out_of_range():
    assert in_its_grid(Segment(), np.eye(300, dtype=np.float32)[None, :, :, None])[299, 0] == 299
    odd = Segment().batch([np.array([[[-1, 255]], [[70_000, 300]]])])
    assert [result.labels.tolist() for result in odd] == [[[NO_CLASS, 255]], [[NO_CLASS, 300]]]
    assert [result.areas() for result in odd] == [[(255, 1)], [(300, 1)]]


def test_a_label_that_stands_for_no_class_is_none():
    (result,) = Segment(ignore=255).batch([np.array([[[255, 3]]])])
    assert result.labels.tolist() == [[NO_CLASS, 3]]


def test_scores_that_are_no_numbers_win_nowhere():
    scores = np.zeros((1, 2, 1, 2), np.float32)
    scores[0, 0, 0, 0], scores[0, 1, 0, 1] = np.nan, np.inf
    assert in_its_grid(Segment(), scores).tolist() == [[1, 1]]
    larger = Segment().batch([scores])[0].placed(Placement(0.25, 0.25, 4, 8))
    assert (larger.labels == 1).all()


@pytest.mark.parametrize(
    "tensors",
    [
        [],
        [np.zeros((1, 2, 3), np.float32)],
        [np.zeros((1, 0, 3, 3), np.float32)],
        [np.zeros((1, 2, 3, 3), np.int64)],
        [np.zeros((1, 2, 3, 3), np.float32)] * 2,
    ],
)
def test_other_tensors_are_refused(tensors):
    with pytest.raises(TensorError, match=r"expected one tensor of scores \[N, classes, h, w\]"):
        Segment().batch(tensors)


def test_maps_agree_pixel_by_pixel():
    first = SegmentationMap(np.array([[0, 0, 1, 1]], np.uint16))
    second = SegmentationMap(np.array([[0, 1, 1, 1]], np.uint16))
    agreement = SegmentationMap.agreement([first, first], [first, second])
    assert (agreement.matched, agreement.total, agreement.noun) == (7, 8, "pixels")
    assert agreement.details["mean_iou"] == pytest.approx((1 + 1 + 1 / 2 + 2 / 3) / 4)
    other = SegmentationMap(np.zeros((2, 2), np.uint16))
    assert SegmentationMap.agreement([first], [other]).matched == 0
    assert SegmentationMap.agreement([], []).share == 1.0


def test_json_has_run_lengths_of_each_class_and_nothing_of_pixels_without_one():
    labels = np.array([[2, 2, NO_CLASS], [0, 2, NO_CLASS]], np.uint16)
    rows = SegmentationMap(labels).to_json(["a", "b"])
    assert [(row["label"], row["pixels"], row.get("class")) for row in rows["classes"]] == [
        (2, 3, None),
        (0, 1, "a"),
    ]
    assert [row["share"] for row in rows["classes"]] == [3 / 6, 1 / 6]
    masks = Masks.from_run_lengths([row["mask"] for row in rows["classes"]])
    assert masks[0].tolist() == (labels == 2).tolist()


def test_a_map_is_drawn_over_its_picture_but_where_nothing_is_known():
    picture = np.full((40, 60, 3), 200, np.uint8)
    labels = np.zeros((40, 60), np.uint16)
    labels[30:, 40:] = NO_CLASS
    drawn = np.asarray(SegmentationMap(labels).draw(picture, ["sky"]))
    assert isinstance(SegmentationMap(labels).draw(picture), Image.Image)
    assert (drawn[35:, 45:] == 200).all() and (drawn[20, 30] != 200).any()


@pytest.mark.parametrize(
    "labels", [np.zeros((2, 2), np.int64), np.zeros(4, np.uint16), np.zeros((2, 2), np.float32)]
)
def test_arrays_of_a_stranger_that_are_no_map_are_refused(labels):
    with pytest.raises(ValueError, match=r"expected labels \(height, width\)"):
        SegmentationMap.from_arrays({"labels": labels})
    good = SegmentationMap(np.ones((2, 3), np.uint16))
    assert SegmentationMap.from_arrays(good.to_arrays()).labels.tolist() == good.labels.tolist()
