"""Detections: boxes, scores, labels and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from backends.acceptance import CONFIDENT
from backends.contract import Array, Tensors
from deploy.runtime.results.draw import class_name, draw_boxes
from deploy.runtime.results.masks import Masks
from deploy.runtime.results.matching import Match, match_detections
from deploy.runtime.results.result import Agreement, Result
from deploy.runtime.vision.image import Placement


@dataclass(frozen=True)
class Detections(Result):
    """Boxes with scores and labels, best first; and masks, where the model has them.

    Formula:
        1. Take the edges of each box back to the picture: x = (x - left) * width / scaled_width, y
           = (y - top) * height / scaled_height, of the numbers of the picture's place in the
           tensor.
        2. Drop those whose box or score is not finite. Boxes are clipped to the picture only where
           there are masks.

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

    noun: ClassVar[str] = "detections"
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

    def to_arrays(self) -> dict[str, Array]:
        """Boxes, scores, labels, and the arrays of the masks."""
        arrays: dict[str, Array] = {
            "boxes": self.boxes,
            "scores": self.scores,
            "labels": self.labels,
        }
        return arrays if self.masks is None else {**arrays, **self.masks.to_arrays()}

    @classmethod
    def from_arrays(cls, arrays: Tensors) -> Self:
        """The detections from the arrays that ``to_arrays`` gave; errors as of ``Result``."""
        masks = Masks.from_arrays(arrays) if "size" in arrays else None
        boxes, scores, labels = (arrays[name] for name in ("boxes", "scores", "labels"))
        if boxes.dtype.kind + scores.dtype.kind != "ff" or labels.dtype.kind not in "iu":
            raise ValueError("expected boxes and scores of floats, and labels of integers")
        if (labels < 0).any():
            raise ValueError("expected labels from 0 on")
        return cls(boxes, scores, labels, masks)

    @classmethod
    def agreement(cls, expected: Sequence[Self], actual: Sequence[Self]) -> Agreement:
        """Match the confident detections of either model with all detections of the other one."""
        pictures = list(zip(expected, actual, strict=True))
        matches = [_match_confident(first, second) for first, second in pictures]
        matches += [_match_confident(second, first) for first, second in pictures]
        box = max((match.box for match in matches), default=0.0)
        score = max((match.score for match in matches), default=0.0)
        mask = min((match.mask for match in matches if match.mask is not None), default=None)
        masks = "" if mask is None else f", masks from IoU {mask:.4f} up"
        return Agreement(
            matched=sum(match.matched for match in matches),
            total=sum(match.matched + match.missing for match in matches),
            noun=cls.noun,
            details={} if mask is None else {"mask_iou": mask},
            text=f"counted from both sides, boxes within {box:.3f} px, "
            f"scores within {score:.4f}{masks}",
        )

    def summary(self, classes: Sequence[str] = ()) -> str:
        """How many there are."""
        return f"{len(self)} found"

    def lines(self, classes: Sequence[str] = ()) -> list[str]:
        """Class, score and box of each detection."""
        return [
            f"{class_name(classes, int(label)):<16} {score:.3f}  "
            + "  ".join(f"{edge:8.1f}" for edge in box)
            for box, score, label in zip(self.boxes, self.scores, self.labels, strict=True)
        ]

    def draw(self, picture: Array, classes: Sequence[str] = ()) -> Image.Image:
        """The picture with mask, box, class and score of each detection."""
        return draw_boxes(picture, self.boxes, self.scores, self.labels, self.masks, classes)


def _match_confident(expected: Detections, actual: Detections) -> Match:
    return match_detections(expected.above(CONFIDENT), actual)
