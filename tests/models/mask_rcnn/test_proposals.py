"""The host step chooses MMDetection's proposals from MMDetection's maps."""

import mask_golden
import numpy as np
import pytest
from plain import plain_proposals, rpn_maps

from backends.contract import TensorError
from deploy.models.mask_rcnn.host import Proposals
from deploy.runtime.execution.host_steps import registered_host_steps

RUN = mask_golden.RUN


def levels(named):
    return [[named[f"{kind}.{level}"] for level in range(5)] for kind in ("rpn_cls", "rpn_reg")]


def quiet(side=64):
    """Maps of a picture in which nothing is found, not even anchors that fit."""
    sides = [side // stride for stride in (4, 8, 16, 32, 64)]
    named = {f"rpn_cls.{at}": np.full((1, 3, s, s), -9, np.float32) for at, s in enumerate(sides)}
    named |= {f"rpn_reg.{at}": np.zeros((1, 12, s, s), np.float32) for at, s in enumerate(sides)}
    return named


def test_the_proposals_are_mmdetections():
    boxes, scores = Proposals(320, 320).select(*levels(mask_golden.rpn_maps()))
    np.testing.assert_allclose(scores, RUN["proposal_scores"], rtol=0, atol=1e-6)
    # the order of equal scores is nobody's: by score as MMDetection has it, then by place
    got, wanted = (
        rows[np.lexsort((*rows.T.round(1), -RUN["proposal_scores"]))]
        for rows in (boxes, RUN["proposals"])
    )
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", ["noise", "objects"])
def test_they_are_those_of_the_plain_way(kind):
    size = (800, 1333) if kind == "objects" else (320, 480)  # of noise, the plain way keeps a lot
    maps = rpn_maps(kind, *size)
    boxes, scores = Proposals(*size).select(*maps)
    wanted_boxes, wanted_scores = plain_proposals(*maps, *size)
    np.testing.assert_allclose(boxes, wanted_boxes, rtol=0, atol=1e-3)
    np.testing.assert_allclose(scores, wanted_scores, rtol=0, atol=1e-6)


def test_regions_name_the_first_picture():
    rois = Proposals(320, 320)(mask_golden.rpn_maps())["rois"]
    assert rois.shape == (1000, 5)
    assert rois.dtype == np.float32
    assert not rois[:, 0].any()


def test_the_limits_limit():
    maps = mask_golden.rpn_maps()
    assert len(Proposals(320, 320, max_per_img=30)(maps)["rois"]) == 30
    assert len(Proposals(320, 320, nms_pre=4)(maps)["rois"]) <= 20
    assert len(Proposals(320, 320, min_size=321)(maps)["rois"]) == 0
    sides = np.diff(Proposals(320, 320, min_size=50)(maps)["rois"][:, 1:].reshape(-1, 2, 2), axis=1)
    assert (sides > 50).all()


def test_regions_lie_in_the_picture():
    rois = Proposals(200, 310)(mask_golden.rpn_maps())["rois"][:, 1:]
    assert rois.min() == 0
    assert rois[:, 2].max() == 310
    assert rois[:, 3].max() == 200


def test_equal_scores_go_by_row_column_and_ratio():
    found = Proposals(64, 64, nms_pre=7, iou_thr=1.0)(quiet())["rois"][:7, 1:]
    flat, square, tall = [0, 0, 22.627, 11.314], [0, 0, 16, 16], [0, 0, 11.314, 22.627]
    shifted = [[x1, y1, x2 + 4, y2] for x1, y1, x2, y2 in (flat, square, tall)]
    np.testing.assert_allclose(found[:6], [flat, square, tall, *shifted], atol=1e-2)


def test_extreme_logits_do_not_overflow():
    maps = quiet()
    maps["rpn_cls.0"][:] = -3e4
    maps["rpn_cls.1"][:] = 3e4
    with np.errstate(all="raise", under="ignore"):
        _, scores = Proposals(64, 64).select(*levels(maps))
    assert scores[0] == 1
    assert scores[-1] == pytest.approx(0, abs=1e-30)


def test_logits_that_are_no_numbers_are_no_proposals():
    maps = {name: np.full_like(value, np.nan) for name, value in quiet(256).items()}
    with np.errstate(invalid="ignore"):
        found = Proposals(256, 256, nms_pre=10)(maps)["rois"]
    assert found.shape[1] == 5


def test_other_shapes_are_refused():
    maps = quiet() | {"rpn_reg.2": np.zeros((1, 12, 4, 5), np.float32)}
    with pytest.raises(TensorError, match=r"expected logits \[1, 3, H, W\] and deltas \[1, 12, H"):
        Proposals(64, 64)(maps)


def test_the_host_steps_are_registered():
    wanted = {"mask_rcnn.proposals", "mask_rcnn.roi_align", "mask_rcnn.detections"}
    assert wanted <= registered_host_steps().keys()
