"""Mask R-CNN after the chain: boxes with the small mask of each, to be pasted into the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.contract import Array, TensorError
from deploy.models.mask_rcnn.masks import Masks, paste
from deploy.runtime.detections import Detections
from deploy.runtime.post import PostFactory


@dataclass(frozen=True)
class Masked(Detections):
    """Detections in a picture's own pixels, clipped to it, with their masks.

    Attributes:
        masks: one for each.
    """

    masks: Masks

    def take(self, chosen: Array) -> Masked:
        """The detections at these indices, or where this mask is true."""
        kept = super().take(chosen)
        return Masked(kept.boxes, kept.scores, kept.labels, self.masks.take(chosen))

    def to_json(self, classes: Sequence[str] = ()) -> list[dict[str, Any]]:
        """As of detections, and ``mask``: the run lengths as COCO has them."""
        rows = super().to_json(classes)
        return [row | {"mask": self.masks.run_lengths(at)} for at, row in enumerate(rows)]


@dataclass(frozen=True)
class Stamped(Detections):
    """Detections whose masks are not pasted yet, wherever their boxes are moved before.

    Attributes:
        stamps: (n, s, s) float32 from 0 to 1, each to be stretched over its box.
        threshold: from which a pixel belongs to the mask.
    """

    stamps: Array
    threshold: float = 0.5

    def take(self, chosen: Array) -> Stamped:
        """The detections at these indices, or where this mask is true."""
        kept = super().take(chosen)
        stamps = self.stamps[chosen]
        return Stamped(kept.boxes, kept.scores, kept.labels, stamps, self.threshold)

    def paste(self, height: int, width: int) -> Masked:
        """The masks in the size of the picture (pixels), and the boxes clipped to it."""
        limits = np.array((width, height, width, height), np.float32)
        boxes = np.clip(self.boxes, np.float32(0), limits)
        masks = paste(self.stamps, self.boxes, height, width, self.threshold)
        return Masked(boxes, self.scores, self.labels, masks)


class MaskPost:
    """The step ``mask_rcnn.masks`` behind the chain.

    Args:
        threshold: from which a pixel belongs to the mask.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        self._threshold = threshold

    def batch(self, tensors: Sequence[Array]) -> list[Detections]:
        """The detections of the one picture.

        Args:
            tensors: mask logits (n, classes, s, s), boxes (n, 4) in input pixels, scores (n,) and
                labels (n,), in the order of the chain's outputs.

        Raises:
            TensorError: another number or other shapes.
        """
        _check(tensors)
        logits, boxes, scores, labels = tensors
        own = logits[np.arange(len(labels)), labels]
        stamps = 1 / (1 + np.exp(-np.maximum(own, -80)))  # exp(80) is still a float32
        return [Stamped(boxes, scores, labels, stamps, self._threshold)]


def _check(tensors: Sequence[Array]) -> None:
    shapes = [array.shape for array in tensors]
    count = shapes[0][0] if shapes and shapes[0] else 0
    if shapes[1:] != [(count, 4), (count,), (count,)] or len(shapes[0]) != 4:
        raise TensorError(
            "masks, boxes, scores and labels",
            expected="[n, classes, s, s], [n, 4], [n] and [n]",
            got=", ".join(str(list(shape)) for shape in shapes),
        )


POSTS: Mapping[str, PostFactory] = {"mask_rcnn.masks": MaskPost}
