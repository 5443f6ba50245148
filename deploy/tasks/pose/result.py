"""Objects with keypoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from backends.contract import Array
from deploy.runtime.results.draw import colour_of, draw_boxes, draw_skeletons
from deploy.runtime.vision.nms import iou_of
from deploy.runtime.vision.placement import Placement
from deploy.tasks.objects import Objects
from deploy.tasks.pose.similarity import similarity

VISIBLE = 0.5
"""The score from which a keypoint is drawn and compared."""


_SAME_SCORE = 0.1  # of a keypoint; half precision may differ by half as much


COCO_LIMBS = (
    *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12)),  # legs and hips
    *((5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10)),  # trunk and arms
    *((1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),  # head
)
"""Which of COCO's 17 keypoints are joined by a line, as COCO's annotations say."""


_LEFT, _RIGHT = (80, 220, 60), (255, 150, 30)
_COCO_COLOURS = ((255, 255, 255), *(_LEFT, _RIGHT) * 8)  # of the nose, and of pairs


@dataclass(frozen=True)
class Poses(Objects):
    """Objects with keypoints, best first.

    Two of two models are the same where their labels are equal and both their boxes' IoU and their
    OKS are at least 0.9 (``MATCH_IOU``). Both bounds are alike: with COCO's deviations, an OKS of
    0.9 is a shift of all keypoints by 4.3 % of the square root of the box's area, and an IoU of 0.9
    one of a box by 2.7 % of both sides, or 5.3 % of one. COCO evaluates up to an OKS of 0.95.

    The OKS counts the keypoints that either model sees, or all where none does; a keypoint whose
    score differs by more than 0.1 counts as wrong. The area is that of the box.

    Formula:
        1. Take the edges of each box and the keypoints back to the picture: x = (x - left) * width
           / scaled_width, y = (y - top) * height / scaled_height, of the numbers of the picture's
           place in the tensor.
        2. Drop those with a number that is not finite. Nothing is clipped.

    Attributes:
        boxes: (n, 4) float32: x1, y1, x2, y2 in pixels, not clipped to the picture.
        keypoints: (n, K, 3) float32: x and y in pixels, not clipped either, and a score from 0 to
            1: how sure the model is to see it.

    Examples:
        >>> import numpy as np
        >>> poses = Poses(
        ...     scores=np.array([0.75], np.float32),
        ...     labels=np.array([0]),
        ...     boxes=np.array([[0, 0, 40, 80]], np.float32),
        ...     keypoints=np.array([[[10, 20, 1.0], [30, 20, 0.25]]], np.float32),
        ... )
        >>> poses.to_json(["person"])[0]["keypoints"]
        [[10.0, 20.0, 1.0], [30.0, 20.0, 0.25]]
    """

    noun: ClassVar[str] = "poses"
    similarity: ClassVar[str] = "OKS"
    shapes: ClassVar[Mapping[str, tuple[int | None, ...]]] = {
        "boxes": (4,),
        "keypoints": (None, 3),
    }
    boxes: npt.NDArray[np.float32]
    keypoints: npt.NDArray[np.float32]

    def placed(self, placement: Placement) -> Poses:
        """From pixels of the input tensor to pixels of the picture; drops what is not finite."""
        points = self.keypoints.copy()
        points[..., :2] = placement.points_back(points[..., :2])
        return replace(self, boxes=placement.boxes_back(self.boxes), keypoints=points).finite()

    def overlaps(self, index: int, others: Poses) -> Array:
        """The IoU of the boxes (m,) or the OKS, whichever is smaller."""
        if self.keypoints.shape[1:] != others.keypoints.shape[1:]:
            return np.zeros(len(others))
        both: Array = np.minimum(
            iou_of(self.boxes[index], others.boxes), self._similarities(index, others)
        )
        return both

    def _similarities(self, index: int, others: Poses) -> Array:
        points, theirs = self.keypoints[index], others.keypoints
        width, height = np.abs(self.boxes[index, 2:] - self.boxes[index, :2]).astype(np.float64)
        near = similarity(points[:, :2], theirs[..., :2], float(width * height))
        near *= np.abs(points[:, 2] - theirs[..., 2]) <= _SAME_SCORE
        seen = (points[:, 2] >= VISIBLE) | (theirs[..., 2] >= VISIBLE)
        seen |= ~seen.any(axis=1, keepdims=True)
        mean: Array = (near * seen).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
        return mean if len(points) else np.ones(len(others))

    def distance(self, index: int, others: Poses, other: int) -> float:
        """The largest distance of two keypoints that either model sees."""
        ours, theirs = self.keypoints[index], others.keypoints[other]
        seen = (ours[:, 2] >= VISIBLE) | (theirs[:, 2] >= VISIBLE)
        distances = np.linalg.norm(ours[:, :2] - theirs[:, :2], axis=1)
        return float(distances[seen].max(initial=0.0))

    def to_json(self, classes: Sequence[str] = ()) -> list[dict[str, Any]]:
        """One object each: ``box``, ``keypoints``, ``score``, ``label`` and, if known, ``class``.

        Args:
            classes: the names of the labels, such as ``pipeline.classes``.
        """
        rows = zip(self.boxes.tolist(), self.keypoints.tolist(), self.entries(classes), strict=True)
        return [{"box": box, **entry, "keypoints": points} for box, points, entry in rows]

    def lines(self, classes: Sequence[str] = ()) -> list[str]:
        """Class, score, box and the number of visible keypoints of each."""
        count = self.keypoints.shape[1]
        visible = (self.keypoints[..., 2] >= VISIBLE).sum(axis=1)
        rows = zip(self.captions(classes), self.boxes, visible, strict=True)
        return [
            f"{caption}  {'  '.join(f'{edge:8.1f}' for edge in box)}  "
            f"{seen} of {count} keypoints visible"
            for caption, box, seen in rows
        ]

    def draw(self, picture: Array, classes: Sequence[str] = ()) -> Image.Image:
        """The picture with the box and the visible keypoints of each; 17 are COCO's skeleton."""
        canvas = draw_boxes(picture, self.boxes, self.scores, self.labels, None, classes)
        points = self.keypoints[..., :2]
        visible = self.keypoints[..., 2] >= VISIBLE
        if points.shape[1] == len(_COCO_COLOURS):
            return draw_skeletons(canvas, points, visible, COCO_LIMBS, _COCO_COLOURS)
        colours = [colour_of(keypoint) for keypoint in range(points.shape[1])]
        return draw_skeletons(canvas, points, visible, (), colours)
