"""Suppression within a class, wherever the boxes are."""

import numpy as np
import pytest

from deploy.runtime.vision import nms as module
from deploy.runtime.vision.nms import greedy_in_blocks, iou_of, nms
from deploy.runtime.vision.nms_compiled import greedy

BOXES = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
SCORES = np.array([0.5, 0.9, 0.7, 0.1], np.float32)


@pytest.fixture(autouse=True, params=[greedy_in_blocks, greedy], ids=["in NumPy", "compiled"])
def way(request, monkeypatch):
    """Every test holds for both."""
    monkeypatch.setattr(module, "_greedy", lambda: request.param)
    return request.param


def test_the_best_of_a_class_suppresses_what_overlaps_it():
    assert nms(BOXES, SCORES, np.zeros(4, int), 0.5, 10).tolist() == [1, 3]


def test_classes_do_not_suppress_each_other():
    assert nms(BOXES, SCORES, np.array([0, 1, 2, 0]), 0.5, 10).tolist() == [1, 2, 0, 3]


def test_it_stops_at_the_asked_number():
    assert nms(BOXES, SCORES, np.array([0, 1, 2, 0]), 0.5, 2).tolist() == [1, 2]


def test_an_overlap_equal_to_the_threshold_stays():
    boxes = np.array([[0, 0, 2, 1], [0, 0, 1, 1]], np.float32)  # IoU is exactly one half
    assert len(nms(boxes, np.array([0.9, 0.8]), np.zeros(2, int), 0.5, 10)) == 2


def test_coordinates_far_out_are_no_other_class():
    far = BOXES + np.float32(1e7)  # an offset per class would be lost in float32 out here
    assert nms(far, SCORES, np.array([0, 1, 2, 0]), 0.5, 10).tolist() == [1, 2, 0, 3]


def test_no_boxes_are_no_boxes():
    empty = np.empty((0, 4), np.float32)
    assert nms(empty, np.empty(0), np.empty(0, int), 0.5, 10).shape == (0,)


def test_boxes_without_area_suppress_nothing():
    flat = np.zeros((2, 4), np.float32)
    assert len(nms(flat, np.array([0.9, 0.8]), np.zeros(2, int), 0.5, 10)) == 2


@pytest.mark.parametrize("seed", range(4))
def test_many_boxes_are_decided_as_one_by_one(seed):
    rs = np.random.RandomState(seed)
    corner, side = rs.uniform(0, 200, (600, 2)), rs.uniform(5, 60, (600, 2))
    boxes = np.concatenate((corner, corner + side), axis=1).astype(np.float32)
    scores, labels = rs.permutation(600) / 600, rs.randint(3, size=600)
    kept = []
    for one in np.argsort(-scores):
        rivals = [other for other in kept if labels[other] == labels[one]]
        if not (iou_of(boxes[one], boxes[rivals]) > 0.3).any():
            kept.append(one)
    assert nms(boxes, scores, labels, 0.3, 10**6).tolist() == kept
    assert nms(boxes, scores, labels, 0.3, 9).tolist() == kept[:9]


def test_arrays_of_another_kind_are_taken_too():
    boxes, labels = np.asfortranarray(BOXES.astype(float)), np.zeros(4, np.int32)
    boxes.flags.writeable = False
    assert nms(boxes, SCORES, labels, 0.5, 10).tolist() == [1, 3]
