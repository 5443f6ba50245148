"""The class of each pixel of a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from backends.contract import Array, Tensors
from deploy.runtime.results.draw import class_name, colour_of, draw_legend
from deploy.runtime.results.masks import Masks
from deploy.runtime.results.result import Agreement, Result

NO_CLASS = (1 << 16) - 1
"""The label of a pixel that has no class, such as one outside of a cropped tensor."""


@dataclass(frozen=True)
class SegmentationMap(Result):
    """The class of each pixel.

    Attributes:
        labels: (height, width) uint16; ``NO_CLASS`` where a pixel has none.

    Raises:
        ValueError: another dtype or rank.

    Examples:
        >>> import numpy as np
        >>> result = SegmentationMap(np.array([[0, 1, 1], [0, 1, NO_CLASS]], np.uint16))
        >>> result.lines(["sky", "road"])
        ['road             50.0 %', 'sky              33.3 %']
        >>> result.to_json(["sky", "road"])["classes"][0]["pixels"]
        3
    """

    noun: ClassVar[str] = "pixels"
    labels: npt.NDArray[np.uint16]

    def __post_init__(self) -> None:
        if self.labels.dtype != np.uint16 or self.labels.ndim != 2:
            raise ValueError("expected labels (height, width) uint16")

    def areas(self) -> list[tuple[int, int]]:
        """Label and number of pixels of each class that occurs, the largest first."""
        labels, counts = np.unique(self.labels, return_counts=True)
        pairs = zip(labels.tolist(), counts.tolist(), strict=True)
        known = [pair for pair in pairs if pair[0] != NO_CLASS]
        return sorted(known, key=lambda pair: (-pair[1], pair[0]))

    def to_json(self, classes: Sequence[str] = ()) -> dict[str, Any]:
        """Height, width, and for each class label, pixels, share, name and COCO's run lengths."""
        height, width = self.labels.shape
        return {
            "height": height,
            "width": width,
            "classes": [
                {"label": label, "pixels": count, "share": count / self.labels.size}
                | ({"class": classes[label]} if label < len(classes) else {})
                | {"mask": self._run_lengths(label)}
                for label, count in self.areas()
            ],
        }

    def _run_lengths(self, label: int) -> dict[str, Any]:
        height, width = self.labels.shape
        corner = np.zeros((1, 2), np.int64)
        return Masks(height, width, corner, [self.labels == label]).run_lengths(0)

    def to_arrays(self) -> dict[str, Array]:
        """``labels``."""
        return {"labels": self.labels}

    @classmethod
    def from_arrays(cls, arrays: Tensors) -> Self:
        """The map from its array; errors as of ``Result``."""
        return cls(arrays["labels"])

    @classmethod
    def agreement(cls, expected: Sequence[Self], actual: Sequence[Self]) -> Agreement:
        """Compare pixel by pixel.

        The mean IoU is over pictures, and over the classes that either map of a picture has.
        """
        pairs = list(zip(expected, actual, strict=True))
        counts = [_matched_pixels(first, second) for first, second in pairs]
        overlaps = [overlap for pair in pairs for overlap in _class_overlaps(*pair)]
        mean = float(np.mean(overlaps)) if overlaps else 1.0
        return Agreement(
            matched=sum(matched for matched, _ in counts),
            total=sum(total for _, total in counts),
            noun=cls.noun,
            details={"mean_iou": mean},
            text=f"mean IoU {mean:.4f}",
        )

    def lines(self, classes: Sequence[str] = ()) -> list[str]:
        """Name and share of each class."""
        return [
            f"{class_name(classes, label):<16} {100 * count / self.labels.size:4.1f} %"
            for label, count in self.areas()
        ]

    def draw(self, picture: Array, classes: Sequence[str] = ()) -> Image.Image:
        """The picture, half in the colour of each pixel's class, with a legend."""
        tinted = picture // 2
        labels = [label for label, _ in self.areas()]
        for label in labels:
            half = np.array(colour_of(label), np.uint8) // 2
            tinted[self.labels == label] += half
        unknown = self.labels == NO_CLASS
        tinted[unknown] = picture[unknown]
        names = [(class_name(classes, label), colour_of(label)) for label in labels]
        return draw_legend(tinted, names)


def _matched_pixels(expected: SegmentationMap, actual: SegmentationMap) -> tuple[int, int]:
    if expected.labels.shape != actual.labels.shape:
        return 0, expected.labels.size
    return int((expected.labels == actual.labels).sum()), expected.labels.size


def _class_overlaps(expected: SegmentationMap, actual: SegmentationMap) -> Iterator[float]:
    """The IoU of each class that either map has."""
    if expected.labels.shape != actual.labels.shape:
        yield 0.0
        return
    for label in {label for result in (expected, actual) for label, _ in result.areas()}:
        first, second = expected.labels == label, actual.labels == label
        yield float((first & second).sum() / (first | second).sum())
