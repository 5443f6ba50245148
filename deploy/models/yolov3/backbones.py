"""DarkNet-53 and MobileNetV2: a picture to feature maps at strides 8, 16 and 32."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from deploy.models.yolov3.layers import ConvNorm, InvertedResidual, Residual, leaky_conv

Scale = Callable[[int], int]


_DARKNET = ((1, 64), (2, 128), (8, 256), (8, 512), (4, 1024))  # residual blocks, channels


_MOBILENET = (  # expansion, channels, blocks, stride of the first
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


_MOBILENET_OUTPUTS = (3, 5, 7)  # layers at strides 8, 16 and 32


class DarkNet53(nn.Module):
    """DarkNet-53 without its classifier."""

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self.channels = [scale(channels) for _, channels in _DARKNET[2:]]
        self.conv1 = leaky_conv(3, scale(32), 3)
        in_channels = scale(32)
        for stage, (blocks, channels) in enumerate(_DARKNET, start=1):
            layers = nn.Sequential()
            layers.add_module("conv", leaky_conv(in_channels, scale(channels), 3, stride=2))
            for block in range(blocks):
                layers.add_module(f"res{block}", Residual(scale(channels)))
            self.add_module(f"conv_res_block{stage}", layers)
            in_channels = scale(channels)

    def forward(self, image: Tensor) -> list[Tensor]:
        """(N, 3, H, W) to three maps, finest first."""
        x = self.conv1(image)
        maps = []
        for stage in range(1, len(_DARKNET) + 1):
            x = self.get_submodule(f"conv_res_block{stage}")(x)
            maps.append(x)
        return maps[2:]


class MobileNetV2(nn.Module):
    """MobileNetV2 without its classifier; ``conv2`` exists only to match the state dict."""

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self.channels = [scale(_MOBILENET[layer - 1][1]) for layer in _MOBILENET_OUTPUTS]
        self.conv1 = ConvNorm(3, scale(32), 3, nn.LeakyReLU(0.1), stride=2)
        in_channels = scale(32)
        for layer, (expand, channels, blocks, stride) in enumerate(_MOBILENET, start=1):
            layers = nn.Sequential()
            for block in range(blocks):
                step = stride if block == 0 else 1
                layers.append(InvertedResidual(in_channels, scale(channels), step, expand))
                in_channels = scale(channels)
            self.add_module(f"layer{layer}", layers)
        self.conv2 = ConvNorm(in_channels, scale(1280), 1, nn.LeakyReLU(0.1))

    def forward(self, image: Tensor) -> list[Tensor]:
        """(N, 3, H, W) to three maps, finest first."""
        x = self.conv1(image)
        maps = []
        for layer in range(1, len(_MOBILENET) + 1):
            x = self.get_submodule(f"layer{layer}")(x)
            if layer in _MOBILENET_OUTPUTS:
                maps.append(x)
        return maps
