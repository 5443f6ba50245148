"""Mask R-CNN in PyTorch, with MMDetection's structure, names and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deploy.mark import mark
from deploy.models.mask_rcnn.backbones import FPN, ResNet50, Scale
from deploy.models.mask_rcnn.detecting import BoxDetections
from deploy.models.mask_rcnn.hosted import Rows, on_host
from deploy.models.mask_rcnn.layers import RoIHead, RPNHead
from deploy.models.mask_rcnn.pooling import multi_level
from deploy.models.mask_rcnn.proposals import Proposals

BOX_SIZE, MASK_SIZE = 7, 14
"""Cells of a side of what the two heads look at."""


_DETECTIONS = {
    "boxes": Rows((4,)),
    "scores": Rows(()),
    "labels": Rows((), torch.int64),
    "mask_rois": Rows((5,)),
}


class MaskRCNN(nn.Module):
    """Mask R-CNN R50-FPN with the state dict of MMDetection's ``MaskRCNN`` (3.3).

    Args:
        num_classes: classes to tell apart.
        width: factor on every channel count, rounded to multiples of 8.
        proposals: parameters of ``Proposals``, beside height and width.
        detections: parameters of ``BoxDetections``, likewise.

    Raises:
        ValueError: a number out of range.
    """

    def __init__(
        self,
        num_classes: int = 80,
        width: float = 1.0,
        proposals: Mapping[str, Any] | None = None,
        detections: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 1 or width <= 0:
            raise ValueError(f"expected num_classes >= 1 and width > 0, got {num_classes}, {width}")
        scale = _scale(width)
        self.num_classes = num_classes
        self._proposals, self._detections = dict(proposals or {}), dict(detections or {})
        features = ResNet50(scale)
        self.backbone = features
        self.neck = FPN(features.channels, scale(256))
        self.rpn_head = RPNHead(scale(256))
        self.roi_head = RoIHead(scale(256), scale(1024), BOX_SIZE, num_classes)

    @mark("detector_forward", inputs=["image"])
    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """What is in one normalised picture (1, 3, H, W).

        Returns:
            ``boxes`` (k, 4) in pixels of the input, ``scores`` (k,), ``labels`` (k,) int64 and
            ``mask_logits`` (k, classes, 28, 28), best first.
        """
        height, width = int(image.shape[2]), int(image.shape[3])
        feats = self.extract_feat(image)
        rois = self.proposals(*self.rpn(feats), height, width)
        scored = self.bbox_head_forward(self.roi_feats(feats[:4], rois, BOX_SIZE))
        boxes, scores, labels, mask_rois = self.detections(rois, *scored, height, width)
        logits = self.mask_head(self.roi_feats(feats[:4], mask_rois, MASK_SIZE))
        return {"boxes": boxes, "scores": scores, "labels": labels, "mask_logits": logits}

    @mark("extract_feat", inputs=["image"], outputs="feats")
    def extract_feat(self, image: Tensor) -> tuple[Tensor, ...]:
        """A normalised picture (N, 3, H, W) to five maps (N, C, H / stride, W / stride)."""
        maps: tuple[Tensor, ...] = self.neck(self.backbone(image))
        return maps

    @mark("rpn_head", inputs=["feats"], outputs=["rpn_cls", "rpn_reg"])
    def rpn(self, feats: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Five maps to logits (N, 3, H, W) and deltas (N, 12, H, W) of each level's anchors."""
        found: tuple[tuple[Tensor, ...], tuple[Tensor, ...]] = self.rpn_head(feats)
        return found

    @mark("proposals", inputs=["rpn_cls", "rpn_reg"], outputs="rois")
    def proposals(
        self, rpn_cls: Sequence[Tensor], rpn_reg: Sequence[Tensor], height: int, width: int
    ) -> Tensor:
        """What ``rpn`` gives to regions (n, 5) of 0, x1, y1, x2, y2 in pixels; on the host."""
        named = {f"rpn_cls.{level}": logits for level, logits in enumerate(rpn_cls)}
        named |= {f"rpn_reg.{level}": deltas for level, deltas in enumerate(rpn_reg)}
        step = Proposals(height, width, **self._proposals)
        return on_host(step, named, {"rois": Rows((5,))})["rois"]

    @mark("roi_extractor", inputs=["feats", "rois"], outputs="roi_feats")
    def roi_feats(
        self, feats: Sequence[Tensor], rois: Tensor, size: int, samples: int = 0
    ) -> Tensor:
        """RoIAlign, each region on the level of its size.

        Args:
            feats: the four finest maps.
            rois: (n, 5) of index of the picture, x1, y1, x2, y2 in input pixels.
            size: cells of a side.
            samples: points per cell and direction; 0, as MMDetection has it, depends on the
                region. A training is faster with 2.

        Returns:
            (n, C, size, size)
        """
        return multi_level(feats, rois, size, samples)

    @mark("bbox_head_forward", inputs=["roi_feats"], outputs=["cls_score", "bbox_pred"])
    def bbox_head_forward(self, roi_feats: Tensor) -> tuple[Tensor, Tensor]:
        """(n, C, 7, 7) to logits (n, classes + 1), background last, and deltas (n, classes * 4)."""
        found: tuple[Tensor, Tensor] = self.roi_head.bbox_head(roi_feats)
        return found

    @mark(
        "detections",
        inputs=["rois", "cls_score", "bbox_pred"],
        outputs=["boxes", "scores", "labels", "mask_rois"],
    )
    def detections(
        self, rois: Tensor, cls_score: Tensor, bbox_pred: Tensor, height: int, width: int
    ) -> tuple[Tensor, ...]:
        """What the box head gives to boxes, scores, labels and regions; on the host."""
        named = {"rois": rois, "cls_score": cls_score, "bbox_pred": bbox_pred}
        step = BoxDetections(height, width, **self._detections)
        return tuple(on_host(step, named, _DETECTIONS).values())

    @mark("mask_head", inputs=["mask_feats"], outputs="mask_logits")
    def mask_head(self, mask_feats: Tensor) -> Tensor:
        """(n, C, 14, 14) to mask logits (n, classes, 28, 28)."""
        masks: Tensor = self.roi_head.mask_head(mask_feats)
        return masks


def _scale(width: float) -> Scale:
    return lambda channels: max(8, round(channels * width / 8) * 8) if width != 1 else channels
