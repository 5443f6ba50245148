"""What a detector finds in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from backends.contract import Array

CONFIDENT = 0.3
"""Detections below this score come and go with the last bit; they are not shown or compared."""


@dataclass(frozen=True)
class Detections:
    """Boxes with scores and labels, best first.

    Attributes:
        boxes: (n, 4) float32: x1, y1, x2, y2 in pixels. Not clipped to the picture.
        scores: (n,) float32 from 0 to 1.
        labels: (n,) int64, indices of classes.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        shapes = (self.boxes.shape, self.scores.shape, self.labels.shape)
        count = len(self.scores)
        if shapes != ((count, 4), (count,), (count,)):
            raise ValueError(f"expected shapes (n, 4), (n,), (n,), got {shapes}")

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, chosen: Array) -> Detections:
        """The detections at these indices, or where this mask is true."""
        return Detections(self.boxes[chosen], self.scores[chosen], self.labels[chosen])

    def above(self, score: float) -> Detections:
        """The detections of at least this score."""
        return self.take(self.scores >= score)

    def to_json(self, classes: Sequence[str] = ()) -> list[dict[str, Any]]:
        """One object per detection: ``box``, ``score``, ``label`` and, if known, ``class``."""
        rows = zip(self.boxes.tolist(), self.scores.tolist(), self.labels.tolist(), strict=True)
        return [
            {"box": box, "score": score, "label": label}
            | ({"class": classes[label]} if label < len(classes) else {})
            for box, score, label in rows
        ]

    @classmethod
    def from_json(cls, rows: Sequence[dict[str, Any]]) -> Detections:
        """The detections that ``to_json`` was given."""
        return cls(
            np.array([row["box"] for row in rows], np.float32).reshape(-1, 4),
            np.array([row["score"] for row in rows], np.float32),
            np.array([row["label"] for row in rows], np.int64),
        )
