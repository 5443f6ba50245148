"""Where a picture lies in the input tensor, and the way back from the tensor to the picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from backends.contract import Array


class Region(NamedTuple):
    """A rectangle in pixels: x from ``left`` to ``right``, y from ``top`` to ``bottom``."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Placement:
    """Where a picture lies in the tensor: ``x_tensor = x_picture * scale_x + offset_x``.

    Pixel coordinates are those of edges: the first pixel is from 0 to 1. Where a picture is
    cropped, offsets are negative and a part of the picture lies outside of the tensor.

    Attributes:
        scale_x: pixels of the tensor per pixel of the picture.
        scale_y: likewise.
        height: of the picture, in pixels.
        width: likewise.
        offset_x: where the picture's left edge lies in the tensor, in pixels of the tensor.
        offset_y: where its top edge lies.
        tensor_height: of the tensor, in pixels; 0 where it ends with the picture.
        tensor_width: likewise.

    Examples:
        >>> import numpy as np
        >>> placement = Placement(0.5, 0.5, 480, 640, offset_y=40)
        >>> placement.points_back(np.array([[160, 160]])).tolist()
        [[320.0, 240.0]]
        >>> placement.boxes_back(np.array([[0, 40, 320, 280]])).tolist()
        [[0.0, 0.0, 640.0, 480.0]]
    """

    scale_x: float
    scale_y: float
    height: int
    width: int
    offset_x: float = 0.0
    offset_y: float = 0.0
    tensor_height: int = 0
    tensor_width: int = 0

    def boxes_back(self, boxes: Array) -> Array:
        """Boxes (n, 4) in pixels of the tensor to float32 boxes in pixels of the picture.

        They are x1, y1, x2, y2, and are not clipped to the picture.
        """
        return self._back(boxes, 2)

    def points_back(self, points: Array) -> Array:
        """Points (..., 2), x and y, in pixels of the tensor to float32 ones in the picture's.

        Polygons (n, corners, 2) and keypoints (n, joints, 2) are points too.
        """
        return self._back(points, 1)

    def points_forth(self, points: Array) -> Array:
        """The inverse of ``points_back``: points (..., 2) of the picture in the tensor, float32."""
        scale, offset = self._axes(1)
        forth: Array = (points * scale + offset).astype(np.float32)
        return forth

    def in_tensor(self) -> Region:
        """The part of the tensor that holds the picture, in pixels of the tensor."""
        height, width = self.tensor_size
        return Region(
            max(0.0, self.offset_x),
            max(0.0, self.offset_y),
            min(float(width), self.offset_x + self.width * self.scale_x),
            min(float(height), self.offset_y + self.height * self.scale_y),
        )

    def in_picture(self) -> Region:
        """The part of the picture that the tensor holds, in pixels of the picture."""
        left, top, right, bottom = self.in_tensor()
        return Region(
            (left - self.offset_x) / self.scale_x,
            (top - self.offset_y) / self.scale_y,
            (right - self.offset_x) / self.scale_x,
            (bottom - self.offset_y) / self.scale_y,
        )

    def window(self, left: int, top: int, right: int, bottom: int) -> Placement:
        """Where a part of the picture lies in the tensor; the part is then the picture.

        Args:
            left: in pixels of the picture, as the others.
            top: likewise.
            right: behind the last column.
            bottom: behind the last row.
        """
        height, width = self.tensor_size
        return replace(
            self,
            height=bottom - top,
            width=right - left,
            offset_x=self.offset_x + left * self.scale_x,
            offset_y=self.offset_y + top * self.scale_y,
            tensor_height=height,
            tensor_width=width,
        )

    @property
    def tensor_size(self) -> tuple[int, int]:
        """Height and width of the tensor in pixels."""
        height = self.tensor_height or round(self.offset_y + self.height * self.scale_y)
        width = self.tensor_width or round(self.offset_x + self.width * self.scale_x)
        return max(1, height), max(1, width)

    def _back(self, values: Array, pairs: int) -> Array:
        scale, offset = self._axes(pairs)
        with np.errstate(over="ignore"):  # values beyond float32 become infinite
            back: Array = ((values - offset) / scale).astype(np.float32)
        return back

    def _axes(self, pairs: int) -> tuple[Array, Array]:
        scale = np.array([self.scale_x, self.scale_y] * pairs)
        return scale, np.array([self.offset_x, self.offset_y] * pairs)
