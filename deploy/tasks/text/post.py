"""The post-processing steps of text detectors and recognisers by their ids."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.runtime.execution.post_steps import PostFactory
from deploy.tasks.text.ctc import RecogniseText
from deploy.tasks.text.dbnet import DetectText

POSTS: Mapping[str, PostFactory] = {
    "text.detect": DetectText,
    "text.recognise": RecogniseText,
}
"""The post-processing steps by the ids that bundles name."""
