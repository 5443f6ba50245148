"""Darknet's own weights file loads into the model, and a wrong one says why it does not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from deploy.export.weights import WeightsError, load_weights
from deploy.models.yolov3.build import YOLOv3
from deploy.models.yolov3.darknet import read_darknet

HEADER = np.array([0, 2, 0], "<i4").tobytes() + np.array([32013312], "<i8").tobytes()


def convolutions(model: YOLOv3):
    """The convolutions in the order of Darknet's yolov3.cfg, each with its batch norm if any."""
    backbone, neck, head = model.backbone, model.neck, model.bbox_head
    yield backbone.conv1
    for stage in range(1, 6):
        layers = list(backbone.get_submodule(f"conv_res_block{stage}"))
        yield layers[0]
        for block in layers[1:]:
            yield from (block.conv1, block.conv2)
    for level in range(3):
        if level:
            yield neck.get_submodule(f"conv{level}")
        yield from neck.get_submodule(f"detect{level + 1}")
        yield head.convs_bridge[level]
        yield head.convs_pred[level]


def darknet_bytes(model: YOLOv3) -> bytes:
    parts = [HEADER]
    for layer in convolutions(model):
        if isinstance(layer, torch.nn.Conv2d):
            tensors = (layer.bias, layer.weight)
        else:
            norm = layer.bn
            tensors = (
                norm.bias,
                norm.weight,
                norm.running_mean,
                norm.running_var,
                layer.conv.weight,
            )
        parts += [tensor.detach().numpy().astype("<f4").tobytes() for tensor in tensors]
    return b"".join(parts)


@pytest.fixture(scope="module")
def source() -> YOLOv3:
    torch.manual_seed(0)
    model = YOLOv3("darknet53", num_classes=4, width=0.1).eval()
    for value in model.buffers():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return model


def test_every_value_lands_where_darknet_put_it(source, tmp_path: Path):
    (tmp_path / "yolov3.weights").write_bytes(darknet_bytes(source))
    model = YOLOv3("darknet53", num_classes=4, width=0.1).eval()
    load_weights(model, tmp_path / "yolov3.weights", {".weights": read_darknet})
    picture = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for got, wanted in zip(model.pred_maps(picture), source.pred_maps(picture), strict=True):
            assert torch.equal(got, wanted)


def test_a_file_of_another_model_names_both_sizes(source, tmp_path: Path):
    path = tmp_path / "yolov3.weights"
    path.write_bytes(darknet_bytes(source)[:-4])
    with pytest.raises(
        WeightsError, match=r"expected [\d,]+ values for this model, got [\d,]+\. Check"
    ):
        read_darknet(path, source)


def test_an_empty_file_is_refused(source, tmp_path: Path):
    path = tmp_path / "yolov3.weights"
    path.write_bytes(b"")
    with pytest.raises(WeightsError, match="expected a Darknet weights file, got a short file"):
        read_darknet(path, source)


def test_another_backbone_is_refused(source, tmp_path: Path):
    path = tmp_path / "yolov3.weights"
    path.write_bytes(darknet_bytes(source))
    with pytest.raises(WeightsError, match="expected a model with the darknet53 backbone"):
        read_darknet(path, YOLOv3("mobilenetv2", num_classes=4, width=0.25))
