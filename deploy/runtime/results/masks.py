"""Instance masks: which pixels of a picture belong to each detection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.contract import Array, Tensors


@dataclass(frozen=True)
class Masks:
    """A mask for each detection, stored as the crop around its box.

    Attributes:
        height: of the picture in pixels.
        width: likewise.
        corners: (n, 2) int64, x and y of the pixel at the top left of each crop.
        crops: for each detection (h, w) bool; outside of it the mask is False.
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

    def __iter__(self) -> Iterator[Array]:
        """The mask (height, width) bool of each detection."""
        return map(self.__getitem__, range(len(self)))

    def to_arrays(self) -> dict[str, Array]:
        """The masks as four arrays, in which all crops are one after the other."""
        flat = [crop.ravel() for crop in self.crops]
        return {
            "size": np.array((self.height, self.width), np.int64),
            "corners": self.corners,
            "crop_shapes": np.array([crop.shape for crop in self.crops], np.int64).reshape(-1, 2),
            "crops": np.concatenate([np.empty(0, np.bool_), *flat]),
        }

    @classmethod
    def from_arrays(cls, arrays: Tensors) -> Masks:
        """The masks from the arrays that ``to_arrays`` gave.

        Raises:
            ValueError: they do not fit together.
            KeyError: one is missing.
        """
        height, width = (int(side) for side in arrays["size"])
        shapes, corners, pixels = arrays["crop_shapes"], arrays["corners"], arrays["crops"]
        ends = np.cumsum(shapes.prod(axis=1))
        is_inside = (corners >= 0).all() and (corners + shapes[:, ::-1] <= (width, height)).all()
        if len(shapes) != len(corners) or (shapes < 0).any() or not is_inside:
            raise ValueError("masks that do not lie in their picture")
        if pixels.shape != (ends[-1] if len(ends) else 0,):
            raise ValueError("masks of another size than their pixels")
        flat = np.split(pixels, ends[:-1])[: len(shapes)]
        crops = [crop.reshape(shape) for crop, shape in zip(flat, shapes, strict=True)]
        return Masks(height, width, corners, crops)

    def dense(self) -> Array:
        """All masks (n, height, width) bool; one byte per pixel of each."""
        masks = np.zeros((len(self), self.height, self.width), np.bool_)
        for number, mask in enumerate(masks):
            self._put(number, mask)
        return masks

    def take(self, selection: Array) -> Masks:
        """The masks at these indices (k,), or where this boolean array (n,) is true."""
        indices = np.arange(len(self))[selection]
        crops = [self.crops[index] for index in indices]
        return Masks(self.height, self.width, self.corners[indices], crops)

    def run_lengths(self, number: int) -> dict[str, Any]:
        """A mask as COCO's uncompressed run lengths: column by column, beginning with False."""
        x, y = self.corners[number]
        column, row = np.nonzero(self.crops[number].T)
        pixels = (column + x) * self.height + row + y
        begins = np.flatnonzero(np.diff(pixels, prepend=-2) != 1)
        starts, ends = pixels[begins], np.append(pixels[begins[1:] - 1], pixels[-1:]) + 1
        edges = np.stack((starts, ends), axis=1).ravel()
        counts = np.diff(edges, prepend=0, append=self.height * self.width)
        return {"size": [self.height, self.width], "counts": counts.tolist()}

    @classmethod
    def from_run_lengths(cls, rows: Sequence[Mapping[str, Any]]) -> Masks:
        """The masks, all of one size, from their ``run_lengths``.

        Raises:
            ValueError: the sizes differ, or the counts do not add up to the size.
        """
        height, width = rows[0]["size"] if rows else (0, 0)
        if any(row["size"] != [height, width] for row in rows):
            raise ValueError("masks of several sizes")
        crops = [_crop(row["counts"], height, width) for row in rows]
        corners = np.array([corner for corner, _ in crops], np.int64).reshape(-1, 2)
        return cls(height, width, corners, [crop for _, crop in crops])

    def iou(self, number: int, others: Masks, other: int) -> float:
        """Intersection over union of two masks; 1 where both are empty."""
        crop1, crop2 = self.crops[number], others.crops[other]
        (x1, y1), (x2, y2) = self.corners[number], others.corners[other]
        left, top = max(x1, x2), max(y1, y2)
        right = max(left, min(x1 + crop1.shape[1], x2 + crop2.shape[1]))
        bottom = max(top, min(y1 + crop1.shape[0], y2 + crop2.shape[0]))
        overlap1 = crop1[top - y1 : bottom - y1, left - x1 : right - x1]
        overlap2 = crop2[top - y2 : bottom - y2, left - x2 : right - x2]
        intersection = np.count_nonzero(overlap1 & overlap2)
        union = np.count_nonzero(crop1) + np.count_nonzero(crop2) - intersection
        return intersection / union if union else 1.0

    def _put(self, number: int, mask: Array) -> None:
        (x, y), crop = self.corners[number], self.crops[number]
        mask[y : y + crop.shape[0], x : x + crop.shape[1]] = crop


def _crop(counts: Sequence[int], height: int, width: int) -> tuple[tuple[int, int], Array]:
    """Run lengths, column by column, to the corner and the crop of the pixels that are True."""
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise ValueError(f"run lengths that are not of {height} x {width} pixels")
    runs = np.arange(len(counts)) % 2 == 1
    mask = np.repeat(runs, counts).reshape(width, height).T
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return (0, 0), np.zeros((0, 0), np.bool_)
    (top, bottom), (left, right) = rows[[0, -1]], columns[[0, -1]]
    return (int(left), int(top)), mask[top : bottom + 1, left : right + 1].copy()
