"""YOLOv3 in PyTorch has MMDetection's names, shapes and numbers."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import golden

from deploy.models.yolov3.build import YOLOv3


@pytest.fixture(scope="module", params=golden.BACKBONES)
def golden_outputs(request):
    """The golden model's own maps and decoded predictions for the golden picture."""
    model = YOLOv3(request.param).eval()
    model.load_state_dict(golden.weights(request.param))
    with torch.no_grad():
        maps = model.pred_maps(torch.from_numpy(golden.image()))
        decoded = model.decode(maps)
    return request.param, maps, decoded


@pytest.mark.parametrize("backbone", golden.BACKBONES)
def test_the_state_dict_has_the_published_names_and_shapes(backbone):
    state = YOLOv3(backbone).state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == golden.keys(backbone)
    assert list(state) == list(golden.keys(backbone))


def test_the_raw_maps_are_mmdetections(golden_outputs):
    backbone, maps, _ = golden_outputs
    wanted = np.load(golden.DATA / "build.npz")
    for level, raw in enumerate(maps):
        got = raw.numpy().ravel()[::11]
        np.testing.assert_allclose(got, wanted[f"{backbone}/map{level}"], rtol=0, atol=1e-3)


def test_the_decoded_predictions_are_mmdetections(golden_outputs):
    backbone, _, decoded = golden_outputs
    wanted = np.load(golden.DATA / "build.npz")
    parts = (("boxes", 0.05), ("cls_scores", 1e-4), ("objectness", 1e-4))
    for (name, atol), got in zip(parts, decoded, strict=True):
        rows = got[0].numpy()[::25]
        np.testing.assert_allclose(rows, wanted[f"{backbone}/{name}"], rtol=1e-4, atol=atol)


@pytest.mark.parametrize("backbone", golden.BACKBONES)
def test_a_narrow_model_takes_any_multiple_of_32_and_any_batch(backbone):
    model = YOLOv3(backbone, num_classes=3, width=0.25).eval()
    with torch.no_grad():
        boxes, scores, objectness = model(torch.zeros(2, 3, 64, 96))
    anchors = 3 * (2 * 3 + 4 * 6 + 8 * 12)
    assert boxes.shape == (2, anchors, 4)
    assert scores.shape == (2, anchors, 3)
    assert objectness.shape == (2, anchors)


def test_own_anchors_change_the_boxes():
    sizes = [[(10, 20)] * 3] * 3
    model = YOLOv3("darknet53", num_classes=1, width=0.1, anchors=sizes)
    raw = [torch.zeros(1, 18, side, side) for side in (1, 2, 4)]
    boxes, _, _ = model.decode(raw)
    size = boxes[0, :, 2:] - boxes[0, :, :2]
    assert torch.equal(size, torch.tensor([[10.0, 20.0]]).expand_as(size))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "resnet"}, "backbone: expected darknet53 or mobilenetv2, got 'resnet'"),
        ({"num_classes": 0}, "expected num_classes >= 1"),
        ({"width": 0}, "width > 0"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        YOLOv3(**arguments)
