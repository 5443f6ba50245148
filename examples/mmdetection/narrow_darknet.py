"""A backbone of one's own, registered as MMDetection's documentation says."""

from __future__ import annotations

from typing import Any, ClassVar

from mmcv.cnn import ConvModule
from mmdet.models.backbones import Darknet
from mmdet.registry import MODELS


@MODELS.register_module()
class NarrowDarknet(Darknet):
    """DarkNet-53 with a quarter of its channels."""

    arch_settings: ClassVar[dict[int, Any]] = {
        53: ((1, 2, 8, 8, 4), ((8, 16), (16, 32), (32, 64), (64, 128), (128, 256)))
    }

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        activation = {"type": "LeakyReLU", "negative_slope": 0.1}
        self.conv1 = ConvModule(3, 8, 3, padding=1, norm_cfg={"type": "BN"}, act_cfg=activation)
