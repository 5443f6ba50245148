"""Which pixels of a picture belong to what was found in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.contract import Array


@dataclass(frozen=True)
class Masks:
    """A mask for each detection, of which only the part around its box is kept.

    Attributes:
        height: of the picture in pixels.
        width: likewise.
        corners: (n, 2) int64, x and y of the pixel at the top left of each crop.
        crops: for each detection (h, w) bool; all beside it is False.
    """

    height: int
    width: int
    corners: Array
    crops: Sequence[Array]

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, number: int) -> Array:
        """The mask (height, width) bool of one detection."""
        mask = np.zeros((self.height, self.width), np.bool_)
        self._put(number, mask)
        return mask

    def dense(self) -> Array:
        """All masks (n, height, width) bool; a megabyte each where the picture has a megapixel."""
        masks = np.zeros((len(self), self.height, self.width), np.bool_)
        for number, mask in enumerate(masks):
            self._put(number, mask)
        return masks

    def take(self, chosen: Array) -> Masks:
        """The masks at these indices, or where this mask is true."""
        numbers = np.arange(len(self))[chosen]
        crops = [self.crops[number] for number in numbers]
        return Masks(self.height, self.width, self.corners[numbers], crops)

    def run_lengths(self, number: int) -> dict[str, Any]:
        """A mask as COCO's uncompressed run lengths: down the columns, beginning with False."""
        x, y = self.corners[number]
        column, row = np.nonzero(self.crops[number].T)
        place = (column + x) * self.height + row + y
        begins = np.flatnonzero(np.diff(place, prepend=-2) != 1)
        starts, ends = place[begins], np.append(place[begins[1:] - 1], place[-1:]) + 1
        edges = np.stack((starts, ends), axis=1).ravel()
        counts = np.diff(edges, prepend=0, append=self.height * self.width)
        return {"size": [self.height, self.width], "counts": counts.tolist()}

    @classmethod
    def from_run_lengths(cls, rows: Sequence[Mapping[str, Any]]) -> Masks:
        """The masks, of one size, that ``run_lengths`` gave these.

        Raises:
            ValueError: sizes that differ, or counts that are not of that size.
        """
        height, width = rows[0]["size"] if rows else (0, 0)
        if any(row["size"] != [height, width] for row in rows):
            raise ValueError("masks of several sizes")
        parts = [_crop(row["counts"], height, width) for row in rows]
        corners = np.array([corner for corner, _ in parts], np.int64).reshape(-1, 2)
        return cls(height, width, corners, [crop for _, crop in parts])

    def iou(self, number: int, others: Masks, other: int) -> float:
        """How much of what two masks cover is covered by both; 1 where neither covers anything."""
        one, two = self.crops[number], others.crops[other]
        (x1, y1), (x2, y2) = self.corners[number], others.corners[other]
        left, top = max(x1, x2), max(y1, y2)
        right = max(left, min(x1 + one.shape[1], x2 + two.shape[1]))
        bottom = max(top, min(y1 + one.shape[0], y2 + two.shape[0]))
        inside = one[top - y1 : bottom - y1, left - x1 : right - x1]
        shared = np.count_nonzero(inside & two[top - y2 : bottom - y2, left - x2 : right - x2])
        either = np.count_nonzero(one) + np.count_nonzero(two) - shared
        return shared / either if either else 1.0

    def _put(self, number: int, mask: Array) -> None:
        (x, y), crop = self.corners[number], self.crops[number]
        mask[y : y + crop.shape[0], x : x + crop.shape[1]] = crop


def _crop(counts: Sequence[int], height: int, width: int) -> tuple[tuple[int, int], Array]:
    """Run lengths down the columns to the corner and the crop of what is True."""
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise ValueError(f"run lengths that are not of {height} x {width} pixels")
    runs = np.arange(len(counts)) % 2 == 1
    mask = np.repeat(runs, counts).reshape(width, height).T
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return (0, 0), np.zeros((0, 0), np.bool_)
    (top, bottom), (left, right) = rows[[0, -1]], columns[[0, -1]]
    return (int(left), int(top)), mask[top : bottom + 1, left : right + 1].copy()
