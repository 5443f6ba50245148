"""Detections: boxes, scores, labels and masks."""

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
    """Boxes with scores and labels, best first; and masks, where the model has them.

    Attributes:
        boxes: (n, 4) float32: x1, y1, x2, y2 in pixels. Not clipped to the picture, unless there
            are masks.
        scores: (n,) float32 from 0 to 1.
        labels: (n,) int64, indices of classes.
        masks: the mask of each, or None.

    Raises:
        ValueError: the shapes do not fit together.

    Examples:
        >>> import numpy as np
        >>> from deploy.runtime import Detections
        >>> boxes = np.array([[10, 20, 50, 80], [0, 0, 5, 5]], np.float32)
        >>> detections = Detections(boxes, np.array([0.75, 0.25], np.float32), np.array([1, 0]))
        >>> len(detections)
        2
        >>> detections.above(0.5).to_json(["cat", "dog"])
        [{'box': [10.0, 20.0, 50.0, 80.0], 'score': 0.75, 'label': 1, 'class': 'dog'}]
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

    def take(self, selection: Array) -> Self:
        """The detections at these indices (k,), or where this boolean array (n,) is true."""
        return replace(
            self,
            boxes=self.boxes[selection],
            scores=self.scores[selection],
            labels=self.labels[selection],
            masks=None if self.masks is None else self.masks.take(selection),
        )

    def above(self, score: float) -> Self:
        """The detections of at least this score."""
        return self.take(self.scores >= score)

    def finite(self) -> Self:
        """The detections whose score and box are finite."""
        finite = np.isfinite(self.scores) & np.isfinite(self.boxes).all(axis=1)
        return self if finite.all() else self.take(finite)

    def placed(self, placement: Placement) -> Detections:
        """From pixels of the input tensor to pixels of the picture; drops what is not finite."""
        return replace(self, boxes=placement.boxes_back(self.boxes)).finite()

    def to_json(self, classes: Sequence[str] = ()) -> list[dict[str, Any]]:
        """One object per detection: ``box``, ``score``, ``label`` and, if known, ``class``.

        ``mask``, where there are masks, holds COCO's uncompressed run lengths.

        Args:
            classes: the names of the labels, such as ``pipeline.classes``.
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
        """The detections from the objects that ``to_json`` returned."""
        masked = [row["mask"] for row in rows if "mask" in row]
        return Detections(
            np.array([row["box"] for row in rows], np.float32).reshape(-1, 4),
            np.array([row["score"] for row in rows], np.float32),
            np.array([row["label"] for row in rows], np.int64),
            Masks.from_run_lengths(masked) if masked else None,
        )
