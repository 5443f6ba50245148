"""Boxes around lines of text: quadrilaterals with scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from backends.acceptance import CONFIDENT, MATCH_IOU
from backends.contract import Array, Tensors
from deploy.runtime.results.draw import draw_outlines
from deploy.runtime.results.matching import pair_by_overlap
from deploy.runtime.results.result import Agreement, Result
from deploy.runtime.vision.placement import Placement
from deploy.tasks.polygons import quad_overlaps

_UPRIGHT = 1.5  # height over width from which PP-OCR takes a crop for a line that runs downwards


@dataclass(frozen=True)
class TextBoxes(Result):
    """Boxes around lines of text, in reading order: rows from the top, each from the left.

    Formula:
        1. Take the corners back to the picture: x = (x - left) * width / scaled_width, y = (y -
           top) * height / scaled_height, of the numbers of the picture's place in the tensor.
           Nothing is clipped.

    Attributes:
        quads: (n, 4, 2) float32: the corners in pixels, clockwise from the top left. Not clipped to
            the picture.
        scores: (n,) float32 from 0 to 1.

    Raises:
        ValueError: the arrays do not fit together, or are not finite.

    Examples:
        >>> import numpy as np
        >>> quads = np.array([[[1, 2], [9, 2], [9, 4], [1, 4]]], np.float32)
        >>> boxes = TextBoxes(quads, np.array([0.75], np.float32))
        >>> boxes.to_json()
        [{'polygon': [[1.0, 2.0], [9.0, 2.0], [9.0, 4.0], [1.0, 4.0]], 'score': 0.75}]
        >>> [crop.size for crop in boxes.crops(Image.new("RGB", (12, 6)))]
        [(8, 2)]
    """

    noun: ClassVar[str] = "boxes"
    quads: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        count = len(self.scores) if self.scores.ndim else 0
        kinds = [f"{array.dtype}{array.shape}" for array in (self.quads, self.scores)]
        if kinds != [f"float32({count}, 4, 2)", f"float32({count},)"]:
            raise ValueError("expected quads (n, 4, 2) and scores (n,), both float32")
        if not (np.isfinite(self.quads).all() and np.isfinite(self.scores).all()):
            raise ValueError("expected finite quads and scores")

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, selection: Array) -> Self:
        """The boxes at these indices (k,), or where this boolean array (n,) is true."""
        return replace(self, quads=self.quads[selection], scores=self.scores[selection])

    def above(self, score: float) -> Self:
        """The boxes of at least this score."""
        return self.take(self.scores >= score)

    def placed(self, placement: Placement) -> TextBoxes:
        """From pixels of the input tensor to pixels of the picture."""
        return TextBoxes(placement.points_back(self.quads), self.scores)

    def crops(self, picture: Image.Image) -> list[Image.Image]:
        """What each box holds, upright, as a recogniser takes it.

        A box of which the height is 1.5 times the width or more holds a line that runs down or up:
        it is turned by a quarter, anticlockwise, as PP-OCR does.

        Args:
            picture: the picture that the boxes are of.
        """
        most = math.hypot(*picture.size)
        return [_crop(picture, quad, most) for quad in self.quads]

    def to_json(self, classes: Sequence[str] = ()) -> list[dict[str, Any]]:
        """One object per box: ``polygon``, its four corners, and ``score``."""
        rows = zip(self.quads.tolist(), self.scores.tolist(), strict=True)
        return [{"polygon": quad, "score": score} for quad, score in rows]

    def to_arrays(self) -> dict[str, Array]:
        """``quads`` and ``scores``."""
        return {"quads": self.quads, "scores": self.scores}

    @classmethod
    def from_arrays(cls, arrays: Tensors) -> Self:
        """The boxes from the arrays that ``to_arrays`` gave; errors as of ``Result``."""
        return cls(arrays["quads"], arrays["scores"])

    @classmethod
    def agreement(cls, expected: Sequence[Self], actual: Sequence[Self]) -> Agreement:
        """Match the confident boxes of either model with all boxes of the other one."""
        pictures = list(zip(expected, actual, strict=True))
        both = pictures + [(second, first) for first, second in pictures]
        matches = [_matched(first.above(CONFIDENT), second) for first, second in both]
        overlaps = [overlap for match in matches for overlap in match]
        least = min(overlaps, default=1.0)
        return Agreement(
            matched=len(overlaps),
            total=sum(len(first.above(CONFIDENT)) for first, _ in both),
            noun="text boxes",
            details={"smallest_iou": least},
            text=f"counted from both sides, IoU from {least:.4f} up",
        )

    def summary(self, classes: Sequence[str] = ()) -> str:
        """How many there are."""
        return f"{len(self)} {'line' if len(self) == 1 else 'lines'} of text"

    def lines(self, classes: Sequence[str] = ()) -> list[str]:
        """Score and corners of each box."""
        return [
            f"{score:.3f}  " + "  ".join(f"{x:7.1f},{y:7.1f}" for x, y in quad)
            for quad, score in zip(self.quads, self.scores, strict=True)
        ]

    def draw(self, picture: Array, classes: Sequence[str] = ()) -> Image.Image:
        """The picture with the outline of each box."""
        return draw_outlines(picture, self.quads)


def _matched(expected: TextBoxes, actual: TextBoxes) -> list[float]:
    """The IoU of each pair of boxes that are the same."""

    def overlaps_of(index: int, _: Array) -> Array:
        return quad_overlaps(expected.quads[index], actual.quads)

    one_label = np.zeros(len(expected)), np.zeros(len(actual))
    pairs = pair_by_overlap(*one_label, overlaps_of, MATCH_IOU)
    return [float(overlaps_of(first, actual.scores)[second]) for first, second in pairs]


def _crop(picture: Image.Image, quad: Array, most: float) -> Image.Image:
    sides = np.hypot(*(np.roll(quad, -1, axis=0) - quad).T)
    longer = np.maximum(sides[:2], sides[2:]).clip(
        1, most
    )  # of the top and the bottom; of the others
    width, height = map(round, longer.tolist())
    corners = quad[[0, 3, 2, 1]].ravel().tolist()  # Pillow's order: down the left side first
    crop = picture.transform(
        (width, height), Image.Transform.QUAD, corners, Image.Resampling.BICUBIC
    )
    return crop.transpose(Image.Transpose.ROTATE_90) if height >= _UPRIGHT * width else crop
