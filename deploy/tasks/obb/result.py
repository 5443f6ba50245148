"""Objects with rotated boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from backends.contract import Array
from deploy.runtime.results.draw import draw_polygons
from deploy.runtime.vision.placement import Placement
from deploy.tasks.obb.rotated import box_from_sides, corners_of, half_sides
from deploy.tasks.objects import Objects
from deploy.tasks.polygons import quad_overlaps


@dataclass(frozen=True)
class RotatedBoxes(Objects):
    """Objects with rotated boxes, best first.

    Two of two models are the same where their labels are equal and the IoU of their areas is at
    least 0.9 (``MATCH_IOU``); the same area with other numbers, such as half a turn, is the same.

    Formula:
        1. Take the centres back to the picture: x = (x - left) * width / scaled_width, y = (y -
           top) * height / scaled_height. With the angle t, take the half sides u = width / 2 * (cos
           t, sin t) and v = height / 2 * (-sin t, cos t) of the box, and divide their x by
           scaled_width / width and their y by scaled_height / height of the picture.
        2. The new angle is t = atan2(2 (ux uy - vx vy), ux^2 + vy^2 - uy^2 - vx^2) / 2, plus pi
           where ux cos t + uy sin t is below 0. The new width is 2 |ux cos t + uy sin t|, the new
           height 2 |vy cos t - vx sin t|.
        3. Drop those with a number that is not finite. Nothing is clipped.

    Attributes:
        boxes: (n, 5) float32: centre x, centre y, width, height in pixels, and the angle in radians
            by which the width is turned from the x axis towards the y axis, clockwise as one sees
            it. Not clipped to the picture.

    Examples:
        >>> import numpy as np
        >>> found = RotatedBoxes(
        ...     scores=np.array([0.75], np.float32),
        ...     labels=np.array([1]),
        ...     boxes=np.array([[10, 20, 4, 2, 0]], np.float32),
        ... )
        >>> found.to_json(["plane", "ship"])[0]["corners"]
        [[8.0, 19.0], [12.0, 19.0], [12.0, 21.0], [8.0, 21.0]]
    """

    noun: ClassVar[str] = "rotated boxes"
    similarity: ClassVar[str] = "IoU"
    shapes: ClassVar[Mapping[str, tuple[int | None, ...]]] = {"boxes": (5,)}
    boxes: npt.NDArray[np.float32]

    @property
    def corners(self) -> Array:
        """The corners (n, 4, 2) float32, clockwise, in pixels."""
        return corners_of(self.boxes)

    def placed(self, placement: Placement) -> RotatedBoxes:
        """From pixels of the input tensor to pixels of the picture; drops what is not finite.

        Where the picture was scaled differently in x and y, a box becomes a parallelogram, and the
        result is the rotated box nearest to it (``box_from_sides``).
        """
        along, across = half_sides(self.boxes.astype(np.float64))
        scale = np.array((placement.scale_x, placement.scale_y))
        centres = placement.points_back(self.boxes[:, :2])
        with np.errstate(over="ignore", invalid="ignore"):
            boxes = box_from_sides(centres, along / scale, across / scale).astype(np.float32)
        return replace(self, boxes=boxes).finite()

    def overlaps(self, index: int, others: RotatedBoxes) -> Array:
        """The IoU (m,) of the areas."""
        corners = corners_of(np.vstack((self.boxes[index], others.boxes)).astype(np.float64))
        low, high = corners.min(axis=1), corners.max(axis=1)
        near = ((low[0] <= high[1:]) & (low[1:] <= high[0])).all(axis=1)
        found = np.zeros(len(others))
        found[near] = quad_overlaps(corners[0], corners[1:][near])
        return found

    def distance(self, index: int, others: RotatedBoxes, other: int) -> float:
        """The largest distance of a corner to the nearest one of the other box."""
        ours = corners_of(self.boxes[index : index + 1])[0]
        theirs = corners_of(others.boxes[other : other + 1])[0]
        distances = np.linalg.norm(ours[:, None] - theirs, axis=2)
        return float(distances.min(axis=1).max())

    def to_json(self, classes: Sequence[str] = ()) -> list[dict[str, Any]]:
        """One object each: ``rotated_box``, ``corners``, ``score``, ``label``, ``class`` if known.

        Args:
            classes: the names of the labels, such as ``pipeline.classes``.
        """
        rows = zip(self.boxes.tolist(), self.corners.tolist(), self.entries(classes), strict=True)
        return [{"rotated_box": box, "corners": corners, **entry} for box, corners, entry in rows]

    def lines(self, classes: Sequence[str] = ()) -> list[str]:
        """Class, score, centre, size and angle of each."""
        rows = zip(self.captions(classes), self.boxes.tolist(), strict=True)
        return [
            f"{caption}  centre {x:.1f}, {y:.1f}  size {width:.1f} x {height:.1f}  "
            f"turned by {np.degrees(angle):.1f} degrees"
            for caption, (x, y, width, height, angle) in rows
        ]

    def draw(self, picture: Array, classes: Sequence[str] = ()) -> Image.Image:
        """The picture with box, class and score of each."""
        return draw_polygons(picture, self.corners, self.scores, self.labels, classes)
