"""Post-processing steps of object detection by the ids that bundles name."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.runtime.execution.post_steps import PostFactory
from deploy.tasks.detect.detr import Detr
from deploy.tasks.detect.yolo import Yolo

POSTS: Mapping[str, PostFactory] = {"detect.yolo": Yolo, "detect.detr": Detr}
"""The steps; what each expects is said by its class."""
