"""Mask R-CNN after the chain: boxes with the small mask of each, to be pasted into the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from backends.contract import Array, TensorError
from deploy.models.mask_rcnn.pasting import paste
from deploy.runtime.execution.post_steps import PostFactory
from deploy.runtime.vision.detections import Detections
from deploy.runtime.vision.image import Placement


@dataclass(frozen=True)
class Stamped(Detections):
    """Detections whose masks are still small, each to be stretched over its box.

    Attributes:
        stamps: (n, s, s) float32 from 0 to 1.
        threshold: from which a pixel belongs to the mask.
    """

    stamps: Array = field(kw_only=True)
    threshold: float = 0.5

    def take(self, chosen: Array) -> Self:
        """The detections at these indices, or where this mask is true."""
        return replace(super().take(chosen), stamps=self.stamps[chosen])

    def placed(self, placement: Placement) -> Detections:
        """In the picture's own pixels: the masks pasted, and the boxes clipped.

        What has a box or a score that is not finite is dropped.
        """
        found = replace(self, boxes=placement.boxes_back(self.boxes)).finite()
        height, width = placement.height, placement.width
        with np.errstate(over="ignore", invalid="ignore"):  # boxes may be far beyond any picture
            masks = paste(found.stamps, found.boxes, height, width, self.threshold)
        clipped = np.clip(found.boxes, np.float32(0), np.array((width, height) * 2, np.float32))
        return Detections(clipped, found.scores, found.labels, masks)


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
        # exp(80) is still a float32; what is no number is not of the mask
        stamps = 1 / (1 + np.exp(-np.fmax(own, -80)))
        return [Stamped(boxes, scores, labels, stamps=stamps, threshold=self._threshold)]


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
