"""ResNet-50 and FPN: a picture to feature maps at strides 4 to 64."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from deploy.models.resnet.build import Bottleneck

Scale = Callable[[int], int]


_STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))  # blocks, inner channels


_EXPANSION = 4


class ResNet50(nn.Module):
    """ResNet-50 without its classifier, the stride in the 3 x 3 convolutions."""

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self.channels = [scale(inner * _EXPANSION) for _, inner in _STAGES]
        self.conv1 = nn.Conv2d(3, scale(64), 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(scale(64))
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        in_channels = scale(64)
        for stage, (blocks, inner) in enumerate(_STAGES, start=1):
            out_channels = self.channels[stage - 1]
            layer = nn.Sequential()
            for block in range(blocks):
                stride = 2 if block == 0 and stage > 1 else 1
                layer.append(Bottleneck(in_channels, scale(inner), out_channels, stride))
                in_channels = out_channels
            self.add_module(f"layer{stage}", layer)

    def forward(self, image: Tensor) -> list[Tensor]:
        """(N, 3, H, W) to four maps at strides 4, 8, 16 and 32."""
        x = self.maxpool(self.bn1(self.conv1(image)).relu())
        maps = []
        for stage in range(1, len(_STAGES) + 1):
            x = self.get_submodule(f"layer{stage}")(x)
            maps.append(x)
        return maps


class Conv(nn.Module):
    """A convolution with bias that keeps the size; its parameters are ``X.conv`` in MMDetection."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H, W)."""
        return self.conv(x)  # type: ignore[no-any-return]


class FPN(nn.Module):
    """Top-down feature fusion, and a fifth level that is every other cell of the fourth."""

    def __init__(self, in_channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(
            Conv(channels, out_channels, 1) for channels in in_channels
        )
        self.fpn_convs = nn.ModuleList(Conv(out_channels, out_channels, 3) for _ in in_channels)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Four maps to five of equal channels, finest first."""
        laterals = [conv(x) for conv, x in zip(self.lateral_convs, maps, strict=True)]
        fused = laterals[-1:]
        for fine in laterals[-2::-1]:
            up = nn.functional.interpolate(fused[0], size=fine.shape[2:], mode="nearest")
            fused.insert(0, fine + up)
        outs = [conv(x) for conv, x in zip(self.fpn_convs, fused, strict=True)]
        return (*outs, nn.functional.max_pool2d(outs[-1], 1, 2))
