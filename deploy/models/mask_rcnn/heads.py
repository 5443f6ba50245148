"""The three heads of Mask R-CNN; names follow MMDetection's state dict."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from deploy.models.mask_rcnn.anchors import RATIOS
from deploy.models.mask_rcnn.backbones import Conv

_MASK_CONVS = 4


class RPNHead(nn.Module):
    """A convolution shared by all levels, then an objectness and four deltas per anchor."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rpn_conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.rpn_cls = nn.Conv2d(channels, len(RATIOS), 1)
        self.rpn_reg = nn.Conv2d(channels, 4 * len(RATIOS), 1)

    def forward(self, maps: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Maps to logits (N, anchors, H, W) and deltas (N, anchors * 4, H, W) of each level."""
        hidden = [self.rpn_conv(x).relu() for x in maps]
        return tuple(self.rpn_cls(x) for x in hidden), tuple(self.rpn_reg(x) for x in hidden)


class BBoxHead(nn.Module):
    """Two shared layers, then a logit per class and the background, and deltas per class."""

    def __init__(self, in_features: int, hidden: int, num_classes: int) -> None:
        super().__init__()
        self.fc_cls = nn.Linear(hidden, num_classes + 1)
        self.fc_reg = nn.Linear(hidden, 4 * num_classes)
        self.shared_fcs = nn.ModuleList((nn.Linear(in_features, hidden), nn.Linear(hidden, hidden)))

    def forward(self, roi_feats: Tensor) -> tuple[Tensor, Tensor]:
        """(n, C, 7, 7) to logits (n, classes + 1), background last, and deltas (n, classes * 4)."""
        x = roi_feats.flatten(1)
        for layer in self.shared_fcs:
            x = layer(x).relu()
        return self.fc_cls(x), self.fc_reg(x)


class MaskHead(nn.Module):
    """Four convolutions, a transposed one that doubles the size, and a mask per class."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Conv(channels, channels, 3) for _ in range(_MASK_CONVS))
        self.upsample = nn.ConvTranspose2d(channels, channels, 2, 2)
        self.conv_logits = nn.Conv2d(channels, num_classes, 1)

    def forward(self, roi_feats: Tensor) -> Tensor:
        """(n, C, 14, 14) to mask logits (n, classes, 28, 28)."""
        x = roi_feats
        for conv in self.convs:
            x = conv(x).relu()
        return self.conv_logits(self.upsample(x).relu())  # type: ignore[no-any-return]


class RoIHead(nn.Module):
    """The box head and the mask head; groups them as the state dict does."""

    def __init__(self, channels: int, hidden: int, size: int, num_classes: int) -> None:
        super().__init__()
        self.bbox_head = BBoxHead(channels * size * size, hidden, num_classes)
        self.mask_head = MaskHead(channels, num_classes)
