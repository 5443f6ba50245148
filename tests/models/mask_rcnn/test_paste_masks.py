"""Masks are pasted as MMDetection pastes them, and kept in little room."""

import mask_golden
import numpy as np
import pytest
from plain import detections, plain_paste
from pycocotools import mask as coco

from deploy.models.mask_rcnn.post import paste_masks

RUN = mask_golden.RUN


def ious(one, other):
    """Of masks (n, H, W); 1 where both are empty."""
    shared, either = ((f(one, other)).sum((1, 2)) for f in (np.logical_and, np.logical_or))
    return np.where(either, shared / np.maximum(either, 1), 1.0)


def pasted(count=20, height=120, width=90):
    stamps, boxes = detections(count, height, width)
    return paste_masks(stamps, boxes, height, width)


def test_the_masks_are_mmdetections_to_the_pixel():
    masks = paste_masks(mask_golden.stamps(), RUN["dets"][:, :4], 320, 320).dense()
    np.testing.assert_array_equal(masks, mask_golden.masks())


def test_at_full_size_they_are_those_of_the_plain_way():
    stamps, boxes = detections(100, 800, 1333)
    wanted = plain_paste(stamps, boxes, 800, 1333)
    got = paste_masks(stamps, boxes, 800, 1333).dense()
    assert ious(got, wanted).min() >= 0.9999


def test_a_full_stamp_fills_its_box():
    (mask,) = paste_masks(np.ones((1, 28, 28), np.float32), np.array([[10, 20, 40, 50]]), 60, 70)
    assert mask.sum() == 30 * 30
    assert mask[20:50, 10:40].all()


def test_half_a_stamp_fills_half_its_box():
    stamp = np.zeros((1, 28, 28), np.float32)
    stamp[:, :, 14:] = 1
    (mask,) = paste_masks(stamp, np.array([[0.0, 0, 56, 28]]), 28, 56)
    assert mask[:, 28:].all()
    assert not mask[:, :28].any()


def test_what_hangs_over_the_picture_is_cut_off():
    stamps, boxes = np.ones((2, 28, 28), np.float32), [[-30, -30, 20, 10], [200, 5, 240, 9]]
    over, outside = paste_masks(stamps, np.array(boxes, np.float32), 50, 60)
    assert over.sum() == 20 * 10
    assert outside.shape == (50, 60)
    assert not outside.any()


def test_a_box_without_area_has_an_empty_mask_or_a_small_one():
    masks = paste_masks(np.ones((1, 28, 28), np.float32), np.array([[5.0, 5, 5, 9]]), 20, 20)
    assert masks.dense().sum() <= 3 * 6


def test_the_threshold_is_from_where_on():
    stamps = np.full((1, 28, 28), 0.5, np.float32)
    box = np.array([[4.0, 4, 32, 32]], np.float32)
    assert paste_masks(stamps, box, 40, 40, threshold=0.5).dense()[0, 10:20, 10:20].all()
    assert not paste_masks(stamps, box, 40, 40, threshold=0.51).dense().any()


def test_each_mask_takes_the_room_of_its_box_alone():
    masks = paste_masks(
        np.ones((1, 28, 28), np.float32), np.array([[500.0, 400, 520, 430]]), 4000, 6000
    )
    assert masks.crops[0].nbytes <= 22 * 32


def test_run_lengths_are_coco_s():
    masks = pasted()
    for number, wanted in enumerate(masks.dense()):
        lengths = masks.run_lengths(number)
        decoded = coco.decode(coco.frPyObjects(lengths, *lengths["size"]))
        np.testing.assert_array_equal(decoded.astype(bool), wanted)


def test_run_lengths_of_nothing_and_of_everything():
    box = np.array([[0, 0, 9, 5]], np.float32)
    nothing = paste_masks(np.zeros((1, 28, 28), np.float32), box, 5, 9)
    everything = paste_masks(np.ones((1, 28, 28), np.float32), box, 5, 9)
    assert nothing.run_lengths(0) == {"size": [5, 9], "counts": [45]}
    assert everything.run_lengths(0) == {"size": [5, 9], "counts": [0, 45, 0]}


def test_masks_are_a_sequence_of_pictures():
    masks = pasted()
    assert len(masks) == 20
    np.testing.assert_array_equal(np.stack(list(masks)), masks.dense())
    np.testing.assert_array_equal(masks[3], masks.dense()[3])


@pytest.mark.parametrize("chosen", [np.array([4, 1]), np.arange(20) % 3 == 0, slice(2, 5)])
def test_some_of_them_can_be_taken(chosen):
    masks = pasted()
    np.testing.assert_array_equal(masks.take(chosen).dense(), masks.dense()[chosen])


def test_no_detection_is_no_mask():
    masks = paste_masks(np.zeros((0, 28, 28), np.float32), np.zeros((0, 4), np.float32), 30, 40)
    assert len(masks) == 0
    assert masks.dense().shape == (0, 30, 40)
