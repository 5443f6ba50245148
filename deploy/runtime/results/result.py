"""The contract of a result: what post-processing gives for one picture or one input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from PIL import Image

from backends.acceptance import matched_share
from backends.contract import Array, Tensors
from deploy.runtime.results.draw import draw_caption
from deploy.runtime.vision.image import Placement


@dataclass(frozen=True)
class Agreement:
    """How many of the things that two models say are the same.

    Attributes:
        matched: those that both models say.
        total: all of them.
        noun: what is counted, in the plural, such as ``detections``. It names the two figures in a
            manifest.
        details: further figures by name, such as ``mask_iou``; they are kept in the manifest.
        text: the details for people, such as ``boxes within 0.003 px``.
    """

    matched: int
    total: int
    noun: str
    details: Mapping[str, float] = field(default_factory=dict)
    text: str = ""

    @property
    def share(self) -> float:
        """From 0 to 1; 1 where there is nothing to compare."""
        return matched_share(self.matched, self.total)

    def __str__(self) -> str:
        counts = f"{self.matched:,} of {self.total:,} {self.noun} matched"
        return f"{counts}, {self.text}" if self.text else counts


class Result(ABC):
    """What a post-processing step gives for one picture, or for one input without a picture.

    A result is a frozen dataclass. Its class says how two of them are compared, and how it crosses
    to another process or into a file: as named arrays.

    Attributes:
        noun: what results of this class consist of, in the plural, such as ``detections``.
    """

    noun: ClassVar[str]

    @abstractmethod
    def to_json(self, classes: Sequence[str] = ()) -> Any:
        """The result as lists, objects, numbers and texts.

        Args:
            classes: the names of the labels, such as ``pipeline.classes``.
        """

    @abstractmethod
    def to_arrays(self) -> dict[str, Array]:
        """The result as named arrays of numbers."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Tensors) -> Self:
        """The result from arrays that nobody else holds, as ``to_arrays`` gave them.

        The arrays may come from a file or a process that is not trusted.

        Raises:
            ValueError: they do not fit together.
            KeyError: one is missing.
        """

    @classmethod
    @abstractmethod
    def agreement(cls, expected: Sequence[Self], actual: Sequence[Self]) -> Agreement:
        """How far two models agree.

        Args:
            expected: what one model says, input by input.
            actual: what the other model says of the same inputs.
        """

    @abstractmethod
    def lines(self, classes: Sequence[str] = ()) -> list[str]:
        """The result for people, best first, a line for each part."""

    def summary(self, classes: Sequence[str] = ()) -> str:
        """The result for people in a few words; the lines say the rest."""
        return " ".join((self.lines(classes) or ["nothing"])[0].split())

    def placed(self, placement: Placement) -> Result:
        """From pixels of the input tensor to pixels of the picture."""
        return self

    def above(self, score: float) -> Self:
        """The part of the result of at least this score."""
        return self

    def draw(self, picture: Array, classes: Sequence[str] = ()) -> Image.Image:
        """The picture (H, W, 3) uint8, RGB, with the result drawn onto it."""
        return draw_caption(picture, self.lines(classes))
