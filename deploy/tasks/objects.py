"""What results share that consist of objects, each with a score and a label."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import numpy as np
import numpy.typing as npt

from backends.acceptance import CONFIDENT, MATCH_IOU
from backends.contract import Array, Tensors
from deploy.runtime.results.draw import class_name
from deploy.runtime.results.matching import pair_by_overlap
from deploy.runtime.results.result import Agreement, Result

Kind = TypeVar("Kind", bound="Objects")


@dataclass(frozen=True)
class Objects(Result):
    """Objects, best first. A subclass adds arrays (n, ...) float32 and lists them in ``shapes``.

    Attributes:
        shapes: of each array of the subclass the sizes behind n; None is any size.
        similarity: what ``overlaps`` gives, for people, such as ``IoU``.
        scores: (n,) float32, finite.
        labels: (n,) int64, indices of classes.

    Raises:
        ValueError: the arrays do not fit together.
    """

    shapes: ClassVar[Mapping[str, tuple[int | None, ...]]]
    similarity: ClassVar[str]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        count = len(self.scores) if self.scores.ndim else 0
        expected = {"scores": (), "labels": (), **self.shapes}
        for name, sizes in expected.items():
            array, dtype = vars(self)[name], "int64" if name == "labels" else "float32"
            if array.dtype.name != dtype or not _fits(array.shape, (count, *sizes)):
                wanted = ", ".join("any" if size is None else str(size) for size in sizes)
                shape = f"{count}, {wanted}" if wanted else f"{count},"
                got = f"{array.dtype.name}{list(array.shape)}"
                raise ValueError(f"{name}: expected {dtype} ({shape}), got {got}")
        if (self.labels < 0).any():
            raise ValueError("labels: expected none below 0")

    def __len__(self) -> int:
        return len(self.scores)

    @abstractmethod
    def overlaps(self, index: int, others: Self) -> Array:
        """How much an object of this result and each of another model's (m,) overlap: 0 to 1."""

    @abstractmethod
    def distance(self, index: int, others: Self, other: int) -> float:
        """How far two objects are apart that are the same, in pixels."""

    def take(self, selection: Array) -> Self:
        """The objects at these indices (k,), or where this boolean array (n,) is true."""
        return replace(self, **{name: array[selection] for name, array in self._arrays().items()})

    def above(self, score: float) -> Self:
        """The objects of at least this score."""
        return self.take(self.scores >= score)

    def finite(self) -> Self:
        """The objects all of whose numbers are finite."""
        fine = np.ones(len(self), np.bool_)
        for array in self._arrays().values():
            fine &= np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
        return self if fine.all() else self.take(fine)

    def to_arrays(self) -> dict[str, Array]:
        """The arrays by their names."""
        return self._arrays()

    @classmethod
    def from_arrays(cls, arrays: Tensors) -> Self:
        """The result from the arrays that ``to_arrays`` gave; errors as of ``Result``."""
        result = cls(**{name: arrays[name] for name in ("scores", "labels", *cls.shapes)})
        if len(result.finite()) < len(result):
            raise ValueError("expected finite numbers")
        return result

    @classmethod
    def agreement(cls, expected: Sequence[Self], actual: Sequence[Self]) -> Agreement:
        """Match the confident objects of either model with all objects of the other one.

        Two are the same where their labels are equal and they overlap by ``MATCH_IOU`` or more.
        """
        pictures = list(zip(expected, actual, strict=True))
        both = [*pictures, *((second, first) for first, second in pictures)]
        sides = [(first.above(CONFIDENT), second) for first, second in both]
        pairs = [pair for side in sides for pair in _pairs(*side)]
        least = min((pair.overlap for pair in pairs), default=1.0)
        distance = max((pair.distance for pair in pairs), default=0.0)
        score = max((pair.score for pair in pairs), default=0.0)
        return Agreement(
            matched=len(pairs),
            total=sum(len(first) for first, _ in sides),
            noun=cls.noun,
            details={f"smallest_{cls.similarity.lower()}": least},
            text=f"counted from both sides, {cls.similarity} from {least:.4f} up, "
            f"points within {distance:.3f} px, scores within {score:.4f}",
        )

    def summary(self, classes: Sequence[str] = ()) -> str:
        """How many there are."""
        return f"{len(self)} found"

    def captions(self, classes: Sequence[str]) -> list[str]:
        """Class and score of each object."""
        pairs = zip(self.labels, self.scores, strict=True)
        return [f"{class_name(classes, int(label)):<16} {score:.3f}" for label, score in pairs]

    def entries(self, classes: Sequence[str]) -> list[dict[str, Any]]:
        """``score``, ``label`` and, if known, ``class`` of each object, for JSON."""
        return [
            {"score": score, "label": label}
            | ({"class": classes[label]} if label < len(classes) else {})
            for label, score in zip(self.labels.tolist(), self.scores.tolist(), strict=True)
        ]

    def _arrays(self) -> dict[str, Array]:
        return {name: vars(self)[name] for name in ("scores", "labels", *self.shapes)}


class _Pair(NamedTuple):
    """Two objects that are the same: overlap, distance in pixels, difference of their scores."""

    overlap: float
    distance: float
    score: float


def _pairs(first: Kind, second: Kind) -> list[_Pair]:
    def overlaps_of(index: int, _: Array) -> Array:
        return first.overlaps(index, second)

    pairs = pair_by_overlap(first.labels, second.labels, overlaps_of, MATCH_IOU)
    return [
        _Pair(
            float(first.overlaps(index, second.take(np.array([other])))[0]),
            first.distance(index, second, other),
            abs(float(first.scores[index] - second.scores[other])),
        )
        for index, other in pairs
    ]


def _fits(shape: tuple[int, ...], sizes: tuple[int | None, ...]) -> bool:
    return len(shape) == len(sizes) and all(
        size in (None, side) for side, size in zip(shape, sizes, strict=True)
    )
