"""No detections, equal scores, and boxes beyond the picture."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from deploy.models.mask_rcnn.host import HOST_STEPS
from deploy.models.mask_rcnn.post import MaskPost
from deploy.models.yolov3.anchors import ANCHORS
from deploy.models.yolov3.post import YoloBoxes, YoloPost
from deploy.runtime import Pipeline
from deploy.runtime.vision.image import Placement
from tests.helpers.detector_outputs import mask_head_outputs, prediction_maps
from tests.helpers.digit_scenes import SCENE
from tests.helpers.runtime_chains import PLACEMENT, as_bytes


@pytest.mark.parametrize("value", [0, 90, 255])
def test_a_blank_picture_has_nothing_in_it(digits_pipeline, value):
    detections = digits_pipeline(np.full((240, 320, 3), value, np.uint8)).above(0.3)
    assert (detections.boxes.shape, detections.to_json()) == ((0, 4), [])


@pytest.mark.parametrize(
    "limits", [{"score_thr": 1.0}, {"conf_thr": 1.0}, {"nms_pre": 0}, {"max_per_img": 0}], ids=str
)
def test_limits_that_nothing_passes_leave_nothing(digits_pipeline, limits):
    maps = digits_pipeline.chain(digits_pipeline.prepare(SCENE)[0])
    params = {"backbone": "darknet53", "num_classes": 10}
    strict = Pipeline(digits_pipeline.manifest, digits_pipeline.chain, YoloPost(**params, **limits))
    assert len(digits_pipeline.finish(maps, PLACEMENT)) > 0
    assert len(strict.finish(maps, PLACEMENT)) == len(strict(SCENE)) == 0


def test_rows_of_a_batch_without_anything_are_empty_and_the_others_as_if_alone():
    rows = [
        prediction_maps(),
        prediction_maps((1, 2)),
        prediction_maps(),
        prediction_maps((0, 0), (3, 3)),
    ]
    post = YoloPost("darknet53", 2)
    batch = post.batch([np.concatenate(level) for level in zip(*rows, strict=True)])
    assert [len(detections) for detections in batch] == [0, 1, 0, 2]
    assert [as_bytes(detections) for detections in batch] == [as_bytes(post(row)) for row in rows]


def test_no_rows_are_no_detections():
    assert YoloPost("darknet53", 2).batch([level[:0] for level in prediction_maps()]) == []


def test_equal_scores_go_by_level_row_column_anchor_and_class():
    maps = [np.zeros_like(level) for level in prediction_maps()]
    post = YoloPost("darknet53", 2, iou_thr=1.0, max_per_img=1000)
    detections = post(maps)
    assert len(set(detections.scores.tolist())) == 1
    expected = [
        (half, (x + 0.5) * stride, (y + 0.5) * stride, label)
        for stride, side, level in zip((32, 16, 8), (1, 2, 4), ANCHORS["darknet53"], strict=True)
        for y, x, half, label in product(range(side), range(side), level, range(2))
    ]
    assert detections.labels.tolist() == [row[3] for row in expected]
    centres = (detections.boxes[:, :2] + detections.boxes[:, 2:]) / 2
    np.testing.assert_allclose(centres, [row[1:3] for row in expected], atol=1e-3)
    sides = detections.boxes[:, 2:] - detections.boxes[:, :2]
    np.testing.assert_allclose(sides, [row[0] for row in expected], rtol=1e-4)
    assert as_bytes(detections) == as_bytes(post(maps))


def test_equal_scores_of_regions_go_by_region_and_class():
    rois = np.array([[0, left, 0, left + 10, 10] for left in (60, 0, 30)], np.float32)
    logits = np.tile(np.array([3, 3, 0], np.float32), (3, 1))
    deltas = np.zeros((3, 8), np.float32)
    outputs = HOST_STEPS["mask_rcnn.detections"](100, 100)(
        {"rois": rois, "cls_score": logits, "bbox_pred": deltas}
    )
    assert outputs["boxes"][:, 0].tolist() == [60, 60, 0, 0, 30, 30]
    assert outputs["labels"].tolist() == [0, 1] * 3


def test_boxes_without_masks_are_not_clipped_to_the_picture():
    maps = prediction_maps((0, 0), (3, 3))
    maps[2].reshape(3, 7, 4, 4)[0, 2:4] = 3  # twenty times the anchor's size
    detections = YoloPost("darknet53", 2, iou_thr=1.0)(maps).placed(Placement(1, 1, 32, 32))
    assert detections.boxes.min() < -50 and detections.boxes.max() > 80


def test_boxes_with_masks_are_clipped_and_one_wholly_beyond_has_an_empty_mask():
    logits, boxes, *rest = mask_head_outputs()
    logits[:] = 9
    boxes[0], boxes[1] = (-20, -20, 10, 10), (400, 10, 500, 50)
    (detections,) = MaskPost().batch([logits, boxes, *rest])
    detections = detections.placed(PLACEMENT)
    assert detections.boxes.tolist() == [[0, 0, 10, 10], [320, 10, 320, 50], [100, 0, 140, 40]]
    assert detections.masks.dense().sum((1, 2)).tolist() == [100, 0, 1600]


@pytest.mark.parametrize(
    "box", [[5, 5, 5, 9], [5, 5, 9, 5], [5, 5, 5, 5], [9, 5, 5, 9], [5, 9, 9, 5], [9, 9, 5, 5]]
)
def test_a_box_without_area_is_dropped(box):
    boxes = np.array([[box, [0, 0, 4, 4]]], np.float32)
    ones = np.ones((1, 2), np.float32)
    (detections,) = YoloBoxes(1).batch([boxes, ones[..., None], ones])
    assert detections.boxes.tolist() == [[0, 0, 4, 4]]
