"""Suppression within a class, wherever the boxes are."""

import numpy as np

from deploy.runtime.nms import nms

BOXES = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
SCORES = np.array([0.5, 0.9, 0.7, 0.1], np.float32)


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
