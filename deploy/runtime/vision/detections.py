"""What a detector finds in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from backends.contract import Array
from deploy.runtime.vision.image import Placement
from deploy.runtime.vision.masks import Masks


@dataclass(frozen=True)
class Detections:
    """Boxes with scores and labels, best first; and masks, where the model makes some.

    Attributes:
        boxes: (n, 4) float32: x1, y1, x2, y2 in pixels. Not clipped to the picture, unless there
            are masks.
        scores: (n,) float32 from 0 to 1.
        labels: (n,) int64, indices of classes.
        masks: the pixels of each, or nothing.

    Examples:
        >>> detections = Detections(
        ...     boxes=np.array([[10, 20, 50, 60], [0, 0, 8, 8]], np.float32),
        ...     scores=np.array([0.9, 0.2], np.float32),
        ...     labels=np.array([3, 7]),
        ... )
        >>> len(detections), len(detections.above(0.5))
        (2, 1)
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    masks: Masks | None = None

    def __post_init__(self) -> None:
        shapes = (self.boxes.shape, self.scores.shape, self.labels.shape)
        count = len(self.scores)
        if shapes != ((count, 4), (count,), (count,)):
            raise ValueError(f"expected shapes (n, 4), (n,), (n,), got {shapes}")
        if self.masks is not None and len(self.masks) != count:
            raise ValueError(f"expected {count} masks, got {len(self.masks)}")

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, chosen: Array) -> Self:
        """The detections at these indices, or where this mask is true."""
        return replace(
            self,
            boxes=self.boxes[chosen],
            scores=self.scores[chosen],
            labels=self.labels[chosen],
            masks=None if self.masks is None else self.masks.take(chosen),
        )

    def above(self, score: float) -> Self:
        """The detections of at least this score."""
        return self.take(self.scores >= score)

    def finite(self) -> Self:
        """Without those whose score or box is not finite."""
        good = np.isfinite(self.scores) & np.isfinite(self.boxes).all(axis=1)
        return self if good.all() else self.take(good)

    def placed(self, placement: Placement) -> Detections:
        """From pixels of the input tensor to the picture's; what is not finite is dropped."""
        return replace(self, boxes=placement.boxes_back(self.boxes)).finite()

    def to_json(self, classes: Sequence[str] = ()) -> list[dict[str, Any]]:
        """One object per detection: ``box``, ``score``, ``label`` and, if known, ``class``.

        ``mask``, where there is one, holds run lengths as COCO has them.
        """
        rows = zip(self.boxes.tolist(), self.scores.tolist(), self.labels.tolist(), strict=True)
        return [
            {"box": box, "score": score, "label": label}
            | ({"class": classes[label]} if label < len(classes) else {})
            | ({} if self.masks is None else {"mask": self.masks.run_lengths(number)})
            for number, (box, score, label) in enumerate(rows)
        ]

    @classmethod
    def from_json(cls, rows: Sequence[dict[str, Any]]) -> Detections:
        """The detections that ``to_json`` was given."""
        masked = [row["mask"] for row in rows if "mask" in row]
        return Detections(
            np.array([row["box"] for row in rows], np.float32).reshape(-1, 4),
            np.array([row["score"] for row in rows], np.float32),
            np.array([row["label"] for row in rows], np.int64),
            Masks.from_run_lengths(masked) if masked else None,
        )
