"""ResNet in PyTorch: torchvision's architecture, parameter names and numbers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from deploy.mark import mark


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions, plus the input.

    Args:
        in_channels: of its input.
        channels: of its output.
        stride: of the first convolution.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _downsample(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1 x 1 down, 3 x 3, 1 x 1 up, plus the input.

    Args:
        in_channels: of its input.
        inner: channels of the middle convolution.
        out_channels: of its output.
        stride: of the middle convolution.
    """

    def __init__(self, in_channels: int, inner: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = _downsample(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


def _downsample(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and in_channels == out_channels:
        return None
    conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def _block(in_channels: int, inner: int, out_channels: int, stride: int) -> nn.Module:
    if inner == out_channels:
        return BasicBlock(in_channels, out_channels, stride)
    return Bottleneck(in_channels, inner, out_channels, stride)


_REPEATS: Mapping[int, tuple[int, ...]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Blocks of each stage, by the depth of the network."""

_EXPANSION = 4  # of the bottlenecks, which networks from 50 on have


class ResNet(nn.Module):
    """ResNet with the state dict of torchvision's ``resnet18`` to ``resnet152``.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_classes: number of classes.
        width: channels of the first stage; 64 in the published ones.

    Source: https://arxiv.org/abs/1512.03385

    Examples:
        >>> model = ResNet(depth=18, num_classes=10, width=8).eval()
        >>> model(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 10])
    """

    def __init__(self, depth: int = 50, num_classes: int = 1000, width: int = 64) -> None:
        super().__init__()
        if depth not in _REPEATS:
            depths = ", ".join(map(str, _REPEATS))
            raise ValueError(f"depth: expected one of {depths}, got {depth}")
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = width
        for stage, repeat in enumerate(_REPEATS[depth]):
            inner = width << stage
            out_channels = inner * (_EXPANSION if depth >= 50 else 1)
            layer = nn.Sequential()
            for number in range(repeat):
                stride = 2 if stage and not number else 1
                layer.append(_block(channels, inner, out_channels, stride))
                channels = out_channels
            self.add_module(f"layer{stage + 1}", layer)
        self.fc = nn.Linear(channels, num_classes)

    @mark("backbone", inputs=["image"], outputs=["features"])
    def features(self, image: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) to the last map (N, channels, H / 32, W / 32)."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(image))))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return x  # type: ignore[no-any-return]

    def forward(self, image: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) to a logit of each class (N, num_classes)."""
        return self.fc(self.features(image).mean((2, 3)))  # type: ignore[no-any-return]
