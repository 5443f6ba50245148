"""Mask R-CNN in PyTorch: MMDetection's (3.3) architecture, parameter names and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deploy.mark import mark
from deploy.models.mask_rcnn.backbones import FPN, ResNet50, Scale
from deploy.models.mask_rcnn.heads import RoIHead, RPNHead
from deploy.models.mask_rcnn.host import BoxDetections, Proposals
from deploy.models.mask_rcnn.host_step_node import RowSpec, run_on_host
from deploy.models.mask_rcnn.roi_align_torch import multi_level_roi_align

BOX_SIZE, MASK_SIZE = 7, 14
"""Cells of a side of the regions that the box head and the mask head take."""


_DETECTIONS = {
    "boxes": RowSpec((4,)),
    "scores": RowSpec(()),
    "labels": RowSpec((), torch.int64),
    "mask_rois": RowSpec((5,)),
}


class MaskRCNN(nn.Module):
    """Mask R-CNN R50-FPN with the state dict of MMDetection's ``MaskRCNN`` (3.3).

    Args:
        num_classes: number of classes.
        width: factor on every channel count, rounded to multiples of 8.
        proposals: keyword arguments of ``Proposals``, without height and width.
        detections: keyword arguments of ``BoxDetections``, without height and width.

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
        """Detections in one normalised picture (1, 3, H, W).

        Returns:
            ``boxes`` (k, 4) in pixels of the input, ``scores`` (k,), ``labels`` (k,) int64 and
            ``mask_logits`` (k, classes, 28, 28), best first.
        """
        height, width = int(image.shape[2]), int(image.shape[3])
        feats = self.extract_feat(image)
        rois = self.proposals(*self.rpn(feats), height, width)
        box_outputs = self.bbox_head_forward(self.roi_feats(feats[:4], rois, BOX_SIZE))
        boxes, scores, labels, mask_rois = self.detections(rois, *box_outputs, height, width)
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
        outputs: tuple[tuple[Tensor, ...], tuple[Tensor, ...]] = self.rpn_head(feats)
        return outputs

    @mark("proposals", inputs=["rpn_cls", "rpn_reg"], outputs="rois")
    def proposals(
        self, rpn_cls: Sequence[Tensor], rpn_reg: Sequence[Tensor], height: int, width: int
    ) -> Tensor:
        """RPN outputs to regions (n, 5) of 0, x1, y1, x2, y2 in pixels, by a host step."""
        inputs = {f"rpn_cls.{level}": logits for level, logits in enumerate(rpn_cls)}
        inputs |= {f"rpn_reg.{level}": deltas for level, deltas in enumerate(rpn_reg)}
        step = Proposals(height, width, **self._proposals)
        return run_on_host(step, inputs, {"rois": RowSpec((5,))})["rois"]

    @mark("roi_extractor", inputs=["feats", "rois"], outputs="roi_feats")
    def roi_feats(
        self, feats: Sequence[Tensor], rois: Tensor, size: int, samples: int = 0
    ) -> Tensor:
        """RoIAlign, each region on the level of its size.

        Args:
            feats: the four finest maps.
            rois: (n, 5) of index of the picture, x1, y1, x2, y2 in input pixels.
            size: cells of a side.
            samples: sampling points per cell and direction; 0, MMDetection's value, adapts them
                to the region's size. Training is faster with 2.

        Returns:
            (n, C, size, size)
        """
        return multi_level_roi_align(feats, rois, size, samples)

    @mark("bbox_head_forward", inputs=["roi_feats"], outputs=["cls_score", "bbox_pred"])
    def bbox_head_forward(self, roi_feats: Tensor) -> tuple[Tensor, Tensor]:
        """(n, C, 7, 7) to logits (n, classes + 1), background last, and deltas (n, classes * 4)."""
        outputs: tuple[Tensor, Tensor] = self.roi_head.bbox_head(roi_feats)
        return outputs

    @mark(
        "detections",
        inputs=["rois", "cls_score", "bbox_pred"],
        outputs=["boxes", "scores", "labels", "mask_rois"],
    )
    def detections(
        self, rois: Tensor, cls_score: Tensor, bbox_pred: Tensor, height: int, width: int
    ) -> tuple[Tensor, ...]:
        """Box head outputs to boxes, scores, labels and mask regions, by a host step."""
        inputs = {"rois": rois, "cls_score": cls_score, "bbox_pred": bbox_pred}
        step = BoxDetections(height, width, **self._detections)
        return tuple(run_on_host(step, inputs, _DETECTIONS).values())

    @mark("mask_head", inputs=["mask_feats"], outputs="mask_logits")
    def mask_head(self, mask_feats: Tensor) -> Tensor:
        """(n, C, 14, 14) to mask logits (n, classes, 28, 28)."""
        masks: Tensor = self.roi_head.mask_head(mask_feats)
        return masks


def _scale(width: float) -> Scale:
    return lambda channels: max(8, round(channels * width / 8) * 8) if width != 1 else channels
