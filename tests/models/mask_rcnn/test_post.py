"""Behind the chain: detections in pixels of the input, then masks in the picture's own."""

from dataclasses import replace

import mask_golden
import numpy as np
import pytest

from backends.contract import TensorError
from deploy.models.mask_rcnn.post import MaskPost, RoIMaskDetections
from deploy.runtime.execution.post_steps import registered_posts
from deploy.runtime.results.detections import Detections
from deploy.runtime.vision.image import Placement

RUN = mask_golden.RUN


def outputs():
    """What the chain ends with; the logits of other classes are not looked at."""
    logits = np.full((100, 80, 28, 28), np.nan, np.float32)
    logits[np.arange(100), RUN["labels"]] = RUN["mask_logits_of_label"]
    return [logits, RUN["dets"][:, :4], RUN["dets"][:, 4], RUN["labels"]]


def stamped() -> RoIMaskDetections:
    (found,) = MaskPost().batch(outputs())
    return found


def placed(found: RoIMaskDetections) -> Detections:
    """In a picture of the size of the input."""
    return found.placed(Placement(1, 1, 320, 320))


def test_the_masks_are_mmdetections():
    found = placed(stamped())
    np.testing.assert_array_equal(found.masks.dense(), mask_golden.masks())
    np.testing.assert_array_equal(found.boxes, RUN["dets"][:, :4])


def test_boxes_move_into_the_picture_before_masks_are_pasted():
    moved = stamped().placed(Placement(0.5, 0.25, 1280, 640))
    assert moved.masks[0].shape == (1280, 640)
    largest = int(mask_golden.masks().sum((1, 2)).argmax())
    mask = mask_golden.masks()[largest]
    shared = np.kron(mask, np.ones((4, 2), bool)) & moved.masks[largest]
    assert shared.sum() > 0.9 * 8 * mask.sum()


def test_boxes_are_clipped_to_the_picture():
    found = placed(replace(stamped(), boxes=stamped().boxes * 2))
    assert found.boxes.max() == 320


def test_confident_detections_keep_their_masks():
    found = stamped()
    sure = found.above(0.5)
    assert 0 < len(sure) < len(found)
    early, late = placed(sure), placed(found).above(0.5)
    np.testing.assert_array_equal(early.masks.dense(), late.masks.dense())


def test_json_has_run_lengths():
    row = placed(stamped()).to_json()[0]
    assert row["label"] == 62
    assert row["mask"]["size"] == [320, 320]
    assert sum(row["mask"]["counts"]) == 320 * 320


def test_no_detection_is_an_empty_result():
    none = [np.zeros((0, 80, 28, 28), np.float32), np.zeros((0, 4), np.float32)]
    none += [np.zeros(0, np.float32), np.zeros(0, np.int64)]
    (found,) = MaskPost().batch(none)
    assert len(placed(found).masks) == 0


def test_extreme_logits_do_not_overflow():
    logits, *rest = outputs()
    logits[0], logits[1] = -3e4, 3e4
    with np.errstate(all="raise", under="ignore"):
        (found,) = MaskPost().batch([logits, *rest])
    assert found.roi_masks[0].max() < 1e-30
    assert found.roi_masks[1].min() == 1


def test_another_order_is_refused():
    with pytest.raises(
        TensorError, match=r"expected \[n, classes, s, s\], \[n, 4\], \[n\] and \[n\]"
    ):
        MaskPost().batch(outputs()[::-1])


def test_the_step_is_registered():
    assert "mask_rcnn.masks" in registered_posts()
