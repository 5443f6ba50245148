"""The host steps of Mask R-CNN's chain, by their ids."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.models.mask_rcnn.aligning import RoIAlign
from deploy.models.mask_rcnn.detecting import BoxDetections
from deploy.models.mask_rcnn.proposals import Proposals
from deploy.runtime.execution.host_steps import HostFactory

HOST_STEPS: Mapping[str, HostFactory] = {
    "mask_rcnn.proposals": Proposals,
    "mask_rcnn.roi_align": RoIAlign,
    "mask_rcnn.detections": BoxDetections,
}
