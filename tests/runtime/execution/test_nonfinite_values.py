"""NaN, infinities and very large numbers in tensors: no detection is made of them."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

from backends.contract import Dynamic, TensorSpec
from deploy.models.mask_rcnn.host import HOST_STEPS
from deploy.models.mask_rcnn.post import MaskPost
from deploy.models.yolov3.post import YoloBoxes, YoloPost
from deploy.runtime.bundle.manifest import HostStep
from deploy.runtime.execution.host_steps import HostRunner, HostStepError
from deploy.runtime.results.detections import Detections
from deploy.runtime.vision.image import Placement
from tests.helpers.detector_outputs import mask_head_outputs, prediction_maps
from tests.helpers.digit_scenes import SCENE
from tests.helpers.runtime_chains import PLACEMENT, as_bytes, is_finite

NONFINITE_OR_LARGE = np.array([np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e20, 40, -40], np.float32)


def as_rows(detections: Detections) -> list[list[float]]:
    """Boxes, scores and labels as rows."""
    return [[*row["box"], row["score"], row["label"]] for row in detections.to_json()]


def with_nonfinite(array: np.ndarray, seed: int, share: float = 0.02) -> np.ndarray:
    """A copy of which some numbers are NaN, infinite or very large."""
    rng = np.random.default_rng(seed)
    array = array.copy()
    where = rng.random(array.shape) < share
    array[where] = rng.choice(NONFINITE_OR_LARGE, where.sum())
    return array


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("error")
def test_inputs_that_are_not_finite_go_through_the_engines_and_leave_no_odd_detection(
    digits_pipeline, value
):
    (image,) = digits_pipeline.prepare(SCENE)[0].values()
    image[0, :, 100:110, 100:110] = value
    assert is_finite(digits_pipeline.finish(digits_pipeline.chain({"image": image}), PLACEMENT))
    image[:] = value
    assert is_finite(digits_pipeline.finish(digits_pipeline.chain({"image": image}), PLACEMENT))
    assert (
        as_bytes(digits_pipeline(SCENE)) == as_bytes(digits_pipeline(SCENE))
        and len(digits_pipeline(SCENE)) > 0
    )


@pytest.mark.filterwarnings("error")
def test_whatever_the_engines_give_detections_are_finite(digits_pipeline):
    maps = digits_pipeline.chain(digits_pipeline.prepare(SCENE)[0])
    for seed in range(30):
        spoiled = {name: with_nonfinite(array, seed) for name, array in maps.items()}
        assert is_finite(digits_pipeline.finish(spoiled, Placement(0.01, 0.5, 640, 32_000)))


@pytest.mark.parametrize("attribute", range(6), ids=["x", "y", "w", "h", "objectness", "class"])
@pytest.mark.filterwarnings("error")
def test_a_candidate_with_a_nan_is_dropped_and_no_other(attribute):
    post = YoloPost("darknet53", 2)
    maps = prediction_maps((0, 0), (3, 3))
    assert len(post(maps)) == 2
    maps[2].reshape(3, 7, 4, 4)[0, attribute, 0, 0] = np.nan
    assert as_bytes(post(maps)) == as_bytes(post(prediction_maps((3, 3))))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", range(3), ids=["box", "score", "objectness"])
@pytest.mark.filterwarnings("error")
def test_a_box_decoded_in_the_engine_that_is_not_finite_is_dropped_and_no_other(part, value):
    boxes = np.array([[[0, 0, 10, 10], [40, 40, 50, 60]]], np.float32)
    decoded = [boxes, np.full((1, 2, 1), 0.9, np.float32), np.full((1, 2), 0.8, np.float32)]
    post = YoloBoxes(1)
    assert len(post.batch(decoded)[0]) == 2
    decoded[part][0, 0] = value
    (detections,) = post.batch(decoded)
    assert detections.boxes.tolist() == [[40, 40, 50, 60]]


@pytest.mark.parametrize("corner", range(4))
@pytest.mark.filterwarnings("error")
def test_one_corner_that_is_infinite_is_enough(corner):
    boxes = np.array([[[0, 0, 10, 10]]], np.float32)
    boxes[0, 0, corner] = np.inf if corner > 1 else -np.inf
    (detections,) = YoloBoxes(1).batch([boxes, np.ones((1, 1, 1), "f4"), np.ones((1, 1), "f4")])
    assert len(detections) == 0


@pytest.mark.filterwarnings("error")
def test_boxes_as_large_as_float32_holds_are_no_error():
    side = np.float32(3.4e38)
    boxes = np.array([[[-side, -side, side, side], [0, 0, side, 9], [0, 0, side, 9]]], np.float32)
    ones = np.ones((1, 3), np.float32)
    (detections,) = YoloBoxes(1).batch([boxes, ones[..., None], ones])
    assert is_finite(detections.placed(Placement(0.1, 0.1, 320, 320)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", [1, 2], ids=["box", "score"])
@pytest.mark.filterwarnings("error")
def test_with_what_is_dropped_goes_its_mask(part, value):
    (plain,) = MaskPost().batch(mask_head_outputs())
    tensors = mask_head_outputs()
    tensors[part][1] = value
    (detections,) = MaskPost().batch(tensors)
    detections, expected = (
        detections.placed(PLACEMENT),
        plain.placed(PLACEMENT).take(np.array([0, 2])),
    )
    assert as_bytes(detections) == as_bytes(expected)
    np.testing.assert_array_equal(detections.masks.dense(), expected.masks.dense())


@pytest.mark.filterwarnings("error")
def test_a_pixel_whose_logit_is_a_nan_is_not_of_the_mask_and_no_other_changes():
    tensors, low = mask_head_outputs(), mask_head_outputs()
    tensors[0][0, 0, 3:5, 4] = np.nan
    low[0][0, 0, 3:5, 4] = -80
    detections, expected = (MaskPost().batch(each)[0].placed(PLACEMENT) for each in (tensors, low))
    np.testing.assert_array_equal(detections.masks.dense(), expected.masks.dense())
    assert detections.masks[0].any()


@pytest.mark.filterwarnings("error")
def test_whatever_a_post_gives_what_is_not_finite_is_dropped():
    boxes = np.array([[0, 0, 9, 9], [0, 0, np.inf, 9], [0, 0, 3e38, 9], [1, 1, 8, 8]], np.float32)
    scores = np.array([np.nan, 0.9, 0.8, 0.7], np.float32)
    detections = Detections(boxes, scores, np.arange(4)).placed(Placement(0.5, 0.5, 640, 640))
    assert as_rows(detections) == [[2, 2, 16, 16, pytest.approx(0.7), 3]]


def region_tensors() -> dict[str, np.ndarray]:
    """What the steps of Mask R-CNN take, for a picture of 64 x 64 pixels and three classes."""
    rng = np.random.default_rng(0)
    sides = [64 // stride for stride in (4, 8, 16, 32, 64)]
    shapes = {f"rpn_cls.{level}": (1, 3, side, side) for level, side in enumerate(sides)}
    shapes |= {f"rpn_reg.{level}": (1, 12, side, side) for level, side in enumerate(sides)}
    shapes |= {f"feats.{level}": (1, 4, side, side) for level, side in enumerate(sides[:4])}
    shapes |= {"cls_score": (20, 4), "bbox_pred": (20, 12)}
    tensors = {name: rng.standard_normal(shape).astype("f4") for name, shape in shapes.items()}
    corners = rng.uniform(0, 30, (20, 2)).astype("f4")
    opposite_corners = corners + rng.uniform(1, 30, (20, 2)).astype("f4")
    return tensors | {"rois": np.hstack((np.zeros((20, 1), "f4"), corners, opposite_corners))}


HOST_STEP_CASES = {
    "mask_rcnn.proposals": ({"height": 64, "width": 64}, {"rois": 5}),
    "mask_rcnn.detections": ({"height": 64, "width": 64}, {"boxes": 4, "mask_rois": 5}),
    "mask_rcnn.roi_align": ({"size": 7}, {"roi_feats": None}),
}


@pytest.mark.parametrize("id", HOST_STEP_CASES)
def test_a_host_step_gives_what_is_finite_or_one_error(id):
    params, columns = HOST_STEP_CASES[id]
    rows = Dynamic("rows", 0, 10, 1000)
    outputs = tuple(
        TensorSpec(name, "float32", (rows, width) if width else (rows, 4, 7, 7))
        for name, width in columns.items()
    )
    runner = HostRunner(HostStep("odd", id, (), outputs), HOST_STEPS[id](**params))
    assert all(np.isfinite(array).all() for array in runner(region_tensors()).values())
    for seed in range(60):
        tensors = {name: with_nonfinite(array, seed) for name, array in region_tensors().items()}
        tensors["rois"] = region_tensors()["rois"]
        with np.errstate(all="ignore"), suppress(HostStepError):
            assert all(np.isfinite(array).all() for array in runner(tensors).values())
