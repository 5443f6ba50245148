"""Suppression of all groups at once is suppression of each, box by box."""

import numpy as np
import pytest

from deploy.models.mask_rcnn import boxes as module
from deploy.models.mask_rcnn.boxes import batched_nms_numpy, decode_deltas
from deploy.runtime.vision.nms import greedy_in_blocks, nms

ALL = 10**6


@pytest.fixture(params=[batched_nms_numpy, nms], ids=["in NumPy", "compiled"])
def batched_nms(request):
    """Both implementations of ``boxes.batched_nms``; without a limit on how many stay."""
    return lambda *arguments, most=ALL: request.param(*arguments, most)


def scene(seed, count=400, groups=3):
    """Boxes in clusters, so that many overlap by about as much as a threshold."""
    rs = np.random.RandomState(seed)
    centres = rs.uniform(0, 300, (12, 2))[rs.randint(12, size=count)] + rs.normal(0, 8, (count, 2))
    sides = rs.uniform(20, 60, (count, 2))
    boxes = np.concatenate((centres - sides / 2, centres + sides / 2), axis=1).astype(np.float32)
    scores = rs.permutation(count).astype(np.float32) / count
    return boxes, scores, rs.randint(groups, size=count)


@pytest.mark.parametrize("iou_thr", [0.1, 0.5, 0.7])
@pytest.mark.parametrize("seed", range(6))
def test_it_keeps_what_greedy_suppression_keeps(batched_nms, seed, iou_thr):
    boxes, scores, groups = scene(seed)
    wanted = greedy_in_blocks(boxes, np.argsort(-scores), groups, iou_thr, ALL)
    np.testing.assert_array_equal(batched_nms(boxes, scores, groups, iou_thr), wanted)
    few = batched_nms(boxes, scores, groups, iou_thr, most=7)
    np.testing.assert_array_equal(few, wanted[:7])


def test_few_pairs_at_a_time_give_the_same(batched_nms, monkeypatch):
    wanted = batched_nms(*scene(0), 0.5)
    monkeypatch.setattr(module, "_CHUNK", 50)
    np.testing.assert_array_equal(batched_nms(*scene(0), 0.5), wanted)


def test_a_chain_of_boxes_is_resolved_from_its_best(batched_nms):
    start = np.arange(9, dtype=np.float32) * 2
    boxes = np.stack((start, 0 * start, start + 10, 0 * start + 10), axis=1)
    scores = np.linspace(1, 0.1, 9)
    kept = batched_nms(boxes, scores, np.zeros(9, int), 0.5)  # each overlaps its neighbour by 2 / 3
    assert kept.tolist() == [0, 2, 4, 6, 8]


def test_equal_scores_keep_their_order(batched_nms):
    boxes = np.array([[0, 0, 10, 10], [50, 0, 60, 10], [100, 0, 110, 10]], np.float32)
    assert batched_nms(boxes, np.ones(3), np.zeros(3, int), 0.5).tolist() == [0, 1, 2]


def test_equal_boxes_of_other_groups_and_far_coordinates_stay(batched_nms):
    boxes = np.array([[1e6, 5, 1e6 + 50, 60]] * 3 + [[-1e6, 5, -1e6 + 50, 60]], np.float32)
    kept = batched_nms(boxes, np.array([0.9, 0.8, 0.7, 0.6]), np.array([0, 0, 1, 0]), 0.5)
    assert kept.tolist() == [0, 2, 3]


def test_boxes_without_area_suppress_nobody(batched_nms):
    boxes = np.array([[5, 5, 5, 5], [5, 5, 5, 5], [5, 5, 5, 9]], np.float32)
    assert len(batched_nms(boxes, np.ones(3), np.zeros(3, int), 0.5)) == 3


def test_nothing_is_kept_of_nothing(batched_nms):
    none = np.zeros(0, np.float32)
    assert batched_nms(none.reshape(0, 4), none, none.astype(int), 0.5).shape == (0,)


def test_no_deltas_leave_a_box_where_it_is():
    boxes = np.array([[10, 20, 30, 60]], np.float32)
    np.testing.assert_array_equal(
        decode_deltas(boxes, np.zeros((1, 4), np.float32), 100, 100), boxes
    )


def test_deltas_move_by_sides_and_scale_by_powers():
    boxes = np.array([[10, 20, 30, 60]], np.float32)
    deltas = np.array([[0.5, -0.25, np.log(2), np.log(0.5)]], np.float32)
    wanted = [[10, 20, 50, 40]]  # the centre (20, 40) goes to (30, 30), the sides to (40, 20)
    np.testing.assert_allclose(decode_deltas(boxes, deltas, 100, 100), wanted, atol=1e-5)


def test_boxes_are_clipped_to_the_picture_and_huge_deltas_do_not_overflow():
    boxes = np.array([[10, 20, 30, 60]], np.float32)
    with np.errstate(all="raise"):
        found = decode_deltas(boxes, np.full((1, 4), 1e4, np.float32), height=80, width=70)
    assert found.tolist() == [[70, 80, 70, 80]]
    grown = decode_deltas(boxes, np.array([[0, 0, 9, 9]], np.float32), height=80, width=70)
    assert grown.tolist() == [[0, 0, 70, 80]]
