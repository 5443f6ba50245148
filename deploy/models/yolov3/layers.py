"""The blocks of YOLOv3's backbones and neck; names follow MMDetection's state dict."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class ConvNorm(nn.Module):
    """Convolution, batch norm, activation; ``same`` padding at stride 1."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        act: nn.Module,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels)
        self.activate = act

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        return self.activate(self.bn(self.conv(x)))  # type: ignore[no-any-return]


def leaky_conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> ConvNorm:
    """Convolution, batch norm and LeakyReLU(0.1), as in DarkNet, the neck and the head."""
    return ConvNorm(in_channels, out_channels, kernel, nn.LeakyReLU(0.1), stride)


class Residual(nn.Module):
    """DarkNet's residual block: 1 x 1 to half the channels, 3 x 3 back, plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = leaky_conv(channels, channels // 2, 1)
        self.conv2 = leaky_conv(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return x + self.conv2(self.conv1(x))  # type: ignore[no-any-return]


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand, depthwise, project; plus the input where shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = in_channels * expand
        self.shortcut = stride == 1 and in_channels == out_channels
        if expand != 1:
            self.expand_conv = ConvNorm(in_channels, hidden, 1, nn.LeakyReLU(0.1))
        self.depthwise_conv = ConvNorm(hidden, hidden, 3, nn.LeakyReLU(0.1), stride, groups=hidden)
        self.linear_conv = ConvNorm(hidden, out_channels, 1, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        hidden = self.expand_conv(x) if hasattr(self, "expand_conv") else x
        projected: Tensor = self.linear_conv(self.depthwise_conv(hidden))
        return x + projected if self.shortcut else projected


class Detect(nn.Sequential):
    """The neck's five convolutions, 1 x 1 and 3 x 3 in turn."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        sizes: Sequence[tuple[int, int, int]] = (
            (in_channels, out_channels, 1),
            (out_channels, 2 * out_channels, 3),
            (2 * out_channels, out_channels, 1),
            (out_channels, 2 * out_channels, 3),
            (2 * out_channels, out_channels, 1),
        )
        for number, size in enumerate(sizes, start=1):
            self.add_module(f"conv{number}", leaky_conv(*size))
