"""U-Net in PyTorch, with batch norm and padded convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deploy.mark import mark

_MOST_CHANNELS = 8  # times the first level's


def _convs(in_channels: int, channels: int) -> nn.Sequential:
    """Two 3 x 3 convolutions of the same size, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for given in (in_channels, channels):
        layers += [nn.Conv2d(given, channels, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """U-Net: maps of halving size, and back up with each map of the way down beside.

    Args:
        num_classes: number of classes, the background among them.
        width: channels of the first level; each next one has twice as many, at most eight times.
        levels: of maps. Height and width of the input must be multiples of 2 ** (levels - 1).

    Source: https://arxiv.org/abs/1505.04597

    Examples:
        >>> model = UNet(num_classes=3, width=4, levels=3).eval()
        >>> model(torch.zeros(1, 3, 32, 48)).shape
        torch.Size([1, 3, 32, 48])
    """

    def __init__(self, num_classes: int, width: int = 64, levels: int = 5) -> None:
        super().__init__()
        if levels < 2:
            raise ValueError(f"levels: expected 2 or more, got {levels}")
        channels = [width * min(_MOST_CHANNELS, 1 << level) for level in range(levels)]
        self.down = nn.ModuleList(map(_convs, [3, *channels[:-1]], channels))
        self.reduce = nn.ModuleList(map(_reduction, channels[1:], channels[:-1]))
        self.up = nn.ModuleList(_convs(2 * width, width) for width in channels[:-1])
        self.classify = nn.Conv2d(width, num_classes, 1)

    @mark("encoder", inputs=["image"], outputs=["maps"])
    def encode(self, image: Tensor) -> list[Tensor]:
        """Pictures (N, 3, H, W) to the maps of all levels, finest first."""
        maps = [self.down[0](image)]
        for convs in list(self.down)[1:]:
            maps.append(convs(nn.functional.max_pool2d(maps[-1], 2)))
        return maps

    def forward(self, image: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) to a logit of each class and pixel (N, num_classes, H, W)."""
        *maps, x = self.encode(image)
        for level in reversed(range(len(maps))):
            x = nn.functional.interpolate(self.reduce[level](x), scale_factor=2.0)
            x = self.up[level](torch.cat((maps[level], x), 1))
        return self.classify(x)  # type: ignore[no-any-return]


def _reduction(in_channels: int, channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, 1)
