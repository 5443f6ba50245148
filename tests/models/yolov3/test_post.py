"""The host step gives MMDetection's detections from MMDetection's maps, to the last label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backends.contract import TensorError
from deploy.models.yolov3.post import YoloBoxes, YoloPost
from deploy.runtime.execution.post_steps import registered_posts

DATA = np.load(Path(__file__).parents[2] / "data" / "yolov3" / "post.npz")
BACKBONES = ("darknet53", "mobilenetv2")


def golden_maps(backbone: str) -> list[np.ndarray]:
    """The raw maps; class logits of anchors that no threshold lets through are -20."""
    maps = []
    for level in range(3):
        part = {name.split("/")[1]: DATA[name] for name in DATA.files if name.startswith(backbone)}
        raw = np.zeros(part[f"shape{level}"], np.float32)
        rows = raw.reshape(3, 85, -1)
        rows[:, 5:] = -20
        rows[:, 4] = part[f"objectness{level}"]
        rows[part[f"anchor{level}"], :, part[f"cell{level}"]] = part[f"rows{level}"]
        maps.append(raw)
    return maps


def decoded(backbone: str) -> list[np.ndarray]:
    """The maps decoded as the engine does it: boxes, class scores, objectness."""
    import torch

    from deploy.models.yolov3.build import YOLOv3

    model = YOLOv3(backbone)
    with torch.no_grad():
        return [
            part.numpy() for part in model.decode([torch.tensor(m) for m in golden_maps(backbone)])
        ]


def assert_golden(found, backbone: str) -> None:
    dets, labels = DATA[f"{backbone}/dets"], DATA[f"{backbone}/labels"]
    assert found.labels.tolist() == labels.tolist()
    np.testing.assert_allclose(found.boxes, dets[:, :4], rtol=0, atol=1e-3)
    np.testing.assert_allclose(found.scores, dets[:, 4], rtol=0, atol=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_raw_maps_give_mmdetections_detections_in_order(backbone):
    assert_golden(YoloPost(backbone, 80)(golden_maps(backbone)), backbone)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_boxes_decoded_in_the_engine_give_the_same_detections(backbone):
    (found,) = YoloBoxes(80).batch(decoded(backbone))
    assert_golden(found, backbone)


def test_every_picture_of_a_batch_is_as_if_it_were_alone():
    one, other = (
        golden_maps("darknet53"),
        [raw[:, :, ::-1].copy() for raw in golden_maps("darknet53")],
    )
    post = YoloPost("darknet53", 80)
    both = post.batch([np.concatenate(pair) for pair in zip(one, other, strict=True)])
    for found, alone in zip(both, (post(one), post(other)), strict=True):
        np.testing.assert_array_equal(found.boxes, alone.boxes)
        np.testing.assert_array_equal(found.labels, alone.labels)


def test_a_call_with_a_batch_names_the_way_out():
    maps = [np.repeat(raw, 2, axis=0) for raw in golden_maps("darknet53")]
    with pytest.raises(TensorError, match=r"maps: expected one picture, got 2\. Use \.batch\(\)"):
        YoloPost("darknet53", 80)(maps)


def empty_maps(classes: int = 2) -> list[np.ndarray]:
    return [np.full((1, 3 * (5 + classes), side, side), -30, np.float32) for side in (1, 2, 4)]


def test_nothing_to_find_is_no_detection():
    found = YoloPost("darknet53", 2)(empty_maps())
    assert (found.boxes.shape, len(found)) == ((0, 4), 0)


def test_extreme_logits_do_not_overflow():
    with np.errstate(all="raise", under="ignore"):
        maps = [np.full_like(raw, -3e4) for raw in empty_maps()]
        assert len(YoloPost("darknet53", 2)(maps)) == 0
        maps[2][:, 0:7] = 3e4
        assert len(YoloPost("darknet53", 2)(maps)) > 0


def test_equal_scores_keep_the_order_of_their_anchors():
    maps = empty_maps()
    maps[2].reshape(3, 7, 4, 4)[0, 4:6, 0, :] = (
        5  # four cells of one row, far apart by their anchor
    )
    found = YoloPost("darknet53", 2)(maps)
    assert found.scores.max() == found.scores.min()
    assert (np.diff(found.boxes[:, 0]) > 0).all()


def test_the_limits_limit():
    maps = golden_maps("darknet53")
    assert len(YoloPost("darknet53", 80, max_per_img=7)(maps)) == 7
    assert len(YoloPost("darknet53", 80, score_thr=0.999999)(maps)) == 0
    assert len(YoloPost("darknet53", 80, conf_thr=1.0)(maps)) == 0
    assert len(YoloPost("darknet53", 80, nms_pre=5)(maps)) <= 5


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (empty_maps()[:2], r"maps: expected 3 of shape \[batch, 21, height, width\], got"),
        (
            empty_maps(classes=3),
            r"expected 3 of shape \[batch, 21, height, width\], got \[1, 24, 1, 1\]",
        ),
        ([raw[0] for raw in empty_maps()], r"got \[21, 1, 1\]"),
    ],
)
def test_other_maps_are_refused(maps, message):
    with pytest.raises(TensorError, match=message):
        YoloPost("darknet53", 2)(maps)


def test_other_decoded_tensors_are_refused():
    tensors = [np.zeros((1, 9, 4)), np.zeros((1, 9, 3)), np.zeros((1, 8))]
    with pytest.raises(TensorError, match=r"expected \[N, A, 4\], \[N, A, 3\] and \[N, A\]"):
        YoloBoxes(3).batch(tensors)


def test_an_unknown_backbone_is_refused():
    with pytest.raises(ValueError, match="expected darknet53 or mobilenetv2, got 'resnet'"):
        YoloPost("resnet", 2)


def test_both_host_steps_are_registered():
    assert {"yolov3.maps", "yolov3.boxes"} <= registered_posts().keys()
