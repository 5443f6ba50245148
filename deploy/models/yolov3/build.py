"""YOLOv3 in PyTorch: MMDetection's (3.3) architecture, parameter names and numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from deploy.mark import mark
from deploy.models.yolov3.anchors import ANCHORS, STRIDES, Level, Sizes
from deploy.models.yolov3.backbones import DarkNet53, MobileNetV2, Scale
from deploy.models.yolov3.layers import Detect, leaky_conv

_BACKBONES: dict[str, type[DarkNet53] | type[MobileNetV2]] = {
    "darknet53": DarkNet53,
    "mobilenetv2": MobileNetV2,
}


_NECKS = {"darknet53": (512, 256, 128), "mobilenetv2": (96, 96, 96)}


_BRIDGES = {"darknet53": (1024, 512, 256), "mobilenetv2": (96, 96, 96)}


class Neck(nn.Module):
    """Top-down feature fusion; coarsest map first."""

    def __init__(self, in_channels: Sequence[int], out_channels: Sequence[int]) -> None:
        super().__init__()
        self.detect1 = Detect(in_channels[0], out_channels[0])
        for level in (1, 2):
            self.add_module(
                f"conv{level}", leaky_conv(out_channels[level - 1], out_channels[level], 1)
            )
            fused = in_channels[level] + out_channels[level]
            self.add_module(f"detect{level + 1}", Detect(fused, out_channels[level]))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Three backbone maps, finest first, to three fused maps, coarsest first."""
        fine, middle, coarse = maps
        fused = [self.detect1(coarse)]
        for level, lateral in ((1, middle), (2, fine)):
            x = self.get_submodule(f"conv{level}")(fused[-1])
            x = nn.functional.interpolate(x, scale_factor=2.0)
            x = torch.cat((x, lateral), 1)
            fused.append(self.get_submodule(f"detect{level + 1}")(x))
        return fused


class Head(nn.Module):
    """A 3 x 3 bridge and the 1 x 1 prediction for each level."""

    def __init__(
        self, in_channels: Sequence[int], bridges: Sequence[int], out_channels: int
    ) -> None:
        super().__init__()
        pairs = list(zip(in_channels, bridges, strict=True))
        self.convs_bridge = nn.ModuleList(
            leaky_conv(channels, bridge, 3) for channels, bridge in pairs
        )
        self.convs_pred = nn.ModuleList(nn.Conv2d(bridge, out_channels, 1) for bridge in bridges)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, ...]:
        """Fused maps to raw predictions (N, anchors * (5 + classes), H, W)."""
        convs = zip(self.convs_bridge, self.convs_pred, maps, strict=True)
        return tuple(predict(bridge(x)) for bridge, predict, x in convs)


class YOLOv3(nn.Module):
    """YOLOv3 with the state dict of MMDetection's ``YOLOV3`` (3.3).

    Args:
        backbone: ``darknet53`` or ``mobilenetv2``.
        num_classes: number of classes.
        width: factor on every channel count, rounded to multiples of 8.
        anchors: sizes per level, coarsest first; by default the published ones.

    Raises:
        ValueError: an unknown backbone, or a number out of range.
    """

    def __init__(
        self,
        backbone: str = "darknet53",
        num_classes: int = 80,
        width: float = 1.0,
        anchors: Sizes | None = None,
    ) -> None:
        super().__init__()
        if backbone not in _BACKBONES:
            raise ValueError(f"backbone: expected {' or '.join(_BACKBONES)}, got {backbone!r}")
        if num_classes < 1 or width <= 0:
            raise ValueError(f"expected num_classes >= 1 and width > 0, got {num_classes}, {width}")
        scale = _scale(width)
        necks = [scale(channels) for channels in _NECKS[backbone]]
        bridges = [scale(channels) for channels in _BRIDGES[backbone]]
        self.num_classes = num_classes
        self.anchors = ANCHORS[backbone] if anchors is None else anchors
        features = _BACKBONES[backbone](scale)
        self.backbone = features
        self.neck = Neck(features.channels[::-1], necks)
        self.bbox_head = Head(necks, bridges, len(self.anchors[0]) * (5 + num_classes))

    @mark("detector_forward", inputs=["image"])
    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A normalised picture (N, 3, H, W), H and W multiples of 32; see ``decode``."""
        return self.decode(self.pred_maps(image))

    def pred_maps(self, image: Tensor) -> tuple[Tensor, ...]:
        """The three raw head maps (N, 3 * (5 + classes), H / stride, W / stride)."""
        maps: tuple[Tensor, ...] = self.bbox_head(self.neck(self.backbone(image)))
        return maps

    @mark("yolo_head", inputs=["pred_maps"], outputs=["boxes", "scores", "objectness"])
    def decode(self, pred_maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Raw maps to boxes, before any threshold.

        Returns:
            Boxes (N, A, 4) as x1, y1, x2, y2 in input pixels, class scores (N, A, classes) and
            objectness (N, A), for A anchors ordered by level, row, column, anchor.
        """
        levels = zip(pred_maps, self.anchors, STRIDES, strict=True)
        decoded = [self._decode_level(*level) for level in levels]
        boxes, scores, objectness = (
            torch.cat(tensors, 1) for tensors in zip(*decoded, strict=True)
        )
        return boxes, scores, objectness

    def _decode_level(
        self, raw: Tensor, sizes: Level, stride: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        height, width = int(raw.shape[2]), int(raw.shape[3])
        attributes = 5 + self.num_classes
        # (N, anchors * attributes, H, W) -> (N, H * W * anchors, attributes), never above rank 4
        rows = raw.reshape(-1, len(sizes), attributes, height * width).permute(0, 3, 1, 2)
        rows = rows.reshape(-1, height * width * len(sizes), attributes)
        centre, half = _priors(height, width, sizes, stride, raw)
        xy = (rows[:, :, 0:2].sigmoid() - 0.5) * stride + centre
        wh = rows[:, :, 2:4].exp() * half
        objectness = rows[:, :, 4:5].sigmoid().flatten(1)
        return torch.cat((xy - wh, xy + wh), 2), rows[:, :, 5:].sigmoid(), objectness


def _priors(
    height: int, width: int, sizes: Level, stride: int, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Centres and half sizes (1, H * W * anchors, 2) of a level's anchors, in pixels.

    In NumPy, not torch, so that an exported graph holds two constants and not their computation.
    """
    y, x = np.divmod(np.arange(height * width, dtype=np.float32), np.float32(width))
    centre = (np.stack((x, y), 1) + 0.5).repeat(len(sizes), 0) * stride
    half = np.tile(np.array(sizes, np.float32) / 2, (height * width, 1))
    return torch.from_numpy(centre[None]).to(like), torch.from_numpy(half[None]).to(like)


def _scale(width: float) -> Scale:
    return lambda channels: max(8, round(channels * width / 8) * 8) if width != 1 else channels
