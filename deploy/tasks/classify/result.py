"""The classes of a picture, with the score of every class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from backends.contract import Array, Tensors
from deploy.runtime.results.draw import class_name
from deploy.runtime.results.result import Agreement, Result
from deploy.tasks.ties import near


@dataclass(frozen=True)
class Classification(Result):
    """The likeliest classes of one input, best first, and the score of every class.

    Attributes:
        scores: (C,) float32 of every class.
        labels: (k,) int64, indices of the classes that count, best first.
        exclusive: whether an input has one class, its likeliest; otherwise any number of them.

    Raises:
        ValueError: the arrays do not fit together.

    Examples:
        >>> import numpy as np
        >>> result = Classification(np.array([0.25, 0.75], np.float32), np.array([1, 0]))
        >>> result.to_json(["ant", "bee"])
        [{'label': 1, 'score': 0.75, 'class': 'bee'}, {'label': 0, 'score': 0.25, 'class': 'ant'}]
        >>> result.summary(["ant", "bee"])
        'bee 0.750'
    """

    noun: ClassVar[str] = "classes"
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    exclusive: bool = True

    def __post_init__(self) -> None:
        kinds = [f"{array.dtype}, {array.ndim}" for array in (self.scores, self.labels)]
        if kinds != ["float32, 1", "int64, 1"]:
            raise ValueError("expected scores (C,) float32 and labels (k,) int64")
        is_index = (self.labels >= 0) & (self.labels < len(self.scores))
        if not is_index.all() or len(np.unique(self.labels)) < len(self.labels):
            raise ValueError(f"expected each label once and below {len(self.scores)}")

    def __len__(self) -> int:
        return len(self.labels)

    def above(self, score: float) -> Self:
        """The classes of at least this score; an input of one class keeps its likeliest."""
        good = self.scores[self.labels] >= score
        good[: int(self.exclusive)] = True
        return replace(self, labels=self.labels[good])

    def to_json(self, classes: Sequence[str] = ()) -> list[dict[str, Any]]:
        """One object per class, best first: ``label``, ``score`` and, if known, ``class``."""
        return [
            {"label": label, "score": float(self.scores[label])}
            | ({"class": classes[label]} if label < len(classes) else {})
            for label in self.labels.tolist()
        ]

    def to_arrays(self) -> dict[str, Array]:
        """``scores``, ``labels`` and ``exclusive``."""
        exclusive = np.array(self.exclusive, np.bool_)
        return {"scores": self.scores, "labels": self.labels, "exclusive": exclusive}

    @classmethod
    def from_arrays(cls, arrays: Tensors) -> Self:
        """The result from its arrays; errors as of ``Result``."""
        return cls(arrays["scores"], arrays["labels"], bool(arrays["exclusive"]))

    @classmethod
    def agreement(cls, expected: Sequence[Self], actual: Sequence[Self]) -> Agreement:
        """Compare the likeliest class of each input, or each class where there may be several.

        Classes whose scores are equal but for rounding are as good as each other: a model that
        ranks them the other way agrees.
        """
        pairs = list(zip(expected, actual, strict=True))
        counts = [_matched_classes(first, second) for first, second in pairs]
        difference = max((_largest_difference(*pair) for pair in pairs), default=0.0)
        is_exclusive = all(result.exclusive for pair in pairs for result in pair)
        return Agreement(
            matched=sum(matched for matched, _ in counts),
            total=sum(total for _, total in counts),
            noun="top classes" if is_exclusive else cls.noun,
            details={"score_difference": difference},
            text=f"scores within {difference:.4f}",
        )

    def lines(self, classes: Sequence[str] = ()) -> list[str]:
        """Name and score of each class."""
        return [
            f"{class_name(classes, int(label)):<16} {self.scores[label]:.3f}"
            for label in self.labels
        ]

    def summary(self, classes: Sequence[str] = ()) -> str:
        """The likeliest class, or all of them where there may be several."""
        shown = self.labels[:1] if self.exclusive else self.labels
        names = [f"{class_name(classes, int(label))} {self.scores[label]:.3f}" for label in shown]
        return ", ".join(names) or "no class"


def _matched_classes(expected: Classification, actual: Classification) -> tuple[int, int]:
    """How many classes of an input are the same, and how many there are."""
    if expected.scores.shape != actual.scores.shape:
        return 0, 1
    if expected.exclusive:
        return int(_same_top(expected, actual)), 1
    both = set(expected.labels.tolist()) | set(actual.labels.tolist())
    shared = set(expected.labels.tolist()) & set(actual.labels.tolist())
    ties = sum(near(expected.scores[label], actual.scores[label]) for label in both - shared)
    return len(shared) + int(ties), len(both)


def _same_top(expected: Classification, actual: Classification) -> bool:
    if not len(expected) or not len(actual):
        return False  # scores that are no numbers agree with nothing
    first, second = expected.labels[0], actual.labels[0]
    return bool(
        first == second
        or all(near(result.scores[first], result.scores[second]) for result in (expected, actual))
    )


def _largest_difference(expected: Classification, actual: Classification) -> float:
    if expected.scores.shape != actual.scores.shape:
        return float("inf")
    return float(np.abs(expected.scores - actual.scores).max(initial=0.0))
