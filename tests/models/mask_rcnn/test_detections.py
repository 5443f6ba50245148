"""The host step gives MMDetection's detections from what MMDetection's box head said."""

import mask_golden
import numpy as np
import pytest

from backends.contract import TensorError
from deploy.models.mask_rcnn.host import BoxDetections

RUN = mask_golden.RUN


def said():
    return {
        "rois": mask_golden.rois(),
        "cls_score": RUN["cls_score"],
        "bbox_pred": mask_golden.bbox_pred(),
    }


def of(count, classes=3, **changes):
    """Regions side by side, each surely of class 0."""
    rois = np.zeros((count, 5), np.float32)
    rois[:, 1] = np.arange(count) * 20
    rois[:, 3:] = np.stack((rois[:, 1] + 10, np.full(count, 10)), axis=1)
    logits = np.zeros((count, classes + 1), np.float32)
    logits[:, 0] = 9
    deltas = np.zeros((count, 4 * classes), np.float32)
    return {"rois": rois, "cls_score": logits, "bbox_pred": deltas} | changes


def test_the_detections_are_mmdetections_in_order():
    found = BoxDetections(320, 320)(said())
    assert found["labels"].tolist() == RUN["labels"].tolist()
    np.testing.assert_allclose(found["scores"], RUN["dets"][:, 4], rtol=0, atol=1e-6)
    # the deltas are kept as float16
    np.testing.assert_allclose(found["boxes"], RUN["dets"][:, :4], rtol=0, atol=0.02)
    np.testing.assert_array_equal(found["mask_rois"], np.pad(found["boxes"], ((0, 0), (1, 0))))


def test_dtypes_are_as_the_chain_has_them():
    found = BoxDetections(320, 320)(said())
    dtypes = {name: str(array.dtype) for name, array in found.items()}
    floats = dict.fromkeys(("boxes", "scores", "mask_rois"), "float32")
    assert dtypes == floats | {"labels": "int64"}


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_any_number_of_regions_works(count):
    found = BoxDetections(100, 20_000)(of(count))
    assert len(found["scores"]) == min(count, 100)
    assert found["boxes"].shape == (min(count, 100), 4)
    assert found["mask_rois"].shape == (min(count, 100), 5)


def test_background_is_no_detection():
    logits = np.zeros((4, 4), np.float32)
    logits[:, -1] = 50
    assert len(BoxDetections(100, 100)(of(4, cls_score=logits))["scores"]) == 0


def test_the_limits_limit():
    assert len(BoxDetections(320, 320, max_per_img=7)(said())["scores"]) == 7
    assert len(BoxDetections(320, 320, score_thr=0.9)(said())["scores"]) == 0
    few, many = (len(BoxDetections(320, 320, 0.2, iou)(said())["scores"]) for iou in (0.1, 0.4))
    assert few < many


def test_boxes_of_two_classes_do_not_suppress_each_other():
    logits = np.array([[5, 5, 0, 0]], np.float32)
    found = BoxDetections(100, 100)(of(1, cls_score=logits))
    assert found["labels"].tolist() == [0, 1]


def test_deltas_are_those_of_the_class():
    deltas = np.zeros((1, 12), np.float32)
    deltas[0, 0] = 5  # half a side to the right, in tenths
    deltas[0, 4:] = 99
    found = BoxDetections(100, 100)(of(1, bbox_pred=deltas))
    np.testing.assert_allclose(found["boxes"], [[5, 0, 15, 10]], atol=1e-5)


def test_extreme_logits_do_not_overflow():
    logits = np.array([[3e4, -3e4, 0, 0]], np.float32)
    with np.errstate(all="raise", under="ignore"):
        found = BoxDetections(100, 100)(of(1, cls_score=logits))
    assert found["scores"].tolist() == [1]


def test_other_shapes_are_refused():
    with pytest.raises(TensorError, match=r"expected \[n, 5\], \[n, classes \+ 1\] and \[n, class"):
        BoxDetections(100, 100)(of(2, bbox_pred=np.zeros((2, 13), np.float32)))
