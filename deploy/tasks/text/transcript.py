"""What a line of text says: the outputs that a recogniser has chosen, one for each character."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from backends.contract import Array, Tensors
from deploy.runtime.results.result import Agreement, Result

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""What stands for a character that has no name."""


@dataclass(frozen=True)
class Transcript(Result):
    """The characters of one line of text.

    Its characters are outputs of the model. The classes of a bundle name them: all outputs; or all
    but the blank; or all but the blank and a space at the end, as the dictionaries of PP-OCR do.

    Attributes:
        labels: (k,) int64, the output of the model that each character is.
        scores: (k,) float32 from 0 to 1, of each character.
        outputs: how many outputs the model has, with the blank.
        blank: the output that stands for no character.

    Raises:
        ValueError: the arrays do not fit together, or name outputs that there are not.

    Examples:
        >>> import numpy as np
        >>> line = Transcript(np.array([2, 1, 3]), np.array([0.5, 1, 0.75], np.float32), outputs=4)
        >>> line.text(["a", "b", "c"]), line.text(["a", "b"]), line.score
        ('bac', 'ba ', 0.75)
        >>> line.to_json(["a", "b", "c"])
        [{'text': 'bac', 'score': 0.75}]
    """

    noun: ClassVar[str] = "texts"
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    outputs: int
    blank: int = 0

    def __post_init__(self) -> None:
        kinds = [f"{array.dtype}, {array.ndim}" for array in (self.labels, self.scores)]
        if kinds != ["int64, 1", "float32, 1"] or len(self.labels) != len(self.scores):
            raise ValueError("expected labels (k,) int64 and scores (k,) float32")
        if not np.isfinite(self.scores).all():
            raise ValueError("expected finite scores")
        is_character = (self.labels >= 0) & (self.labels < self.outputs)
        if not (is_character & (self.labels != self.blank)).all():
            raise ValueError(f"expected labels below {self.outputs} other than {self.blank}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def score(self) -> float:
        """The mean score of the characters; 0 where there are none."""
        return float(self.scores.mean()) if len(self) else 0.0

    def text(self, classes: Sequence[str]) -> str:
        """The text.

        Args:
            classes: the characters, such as ``pipeline.classes``. One that they do not name is the
                replacement character, U+FFFD.
        """
        return "".join(self._character(label, classes) for label in self.labels.tolist())

    def _character(self, label: int, classes: Sequence[str]) -> str:
        has_blank = len(classes) == self.outputs
        index = label if has_blank or label < self.blank else label - 1
        if index < len(classes):
            return classes[index]
        return " " if index == len(classes) == self.outputs - 2 else UNKNOWN

    def above(self, score: float) -> Self:
        """The line, if its score is this at least; otherwise one without characters."""
        count = len(self) if self.score >= score else 0
        return replace(self, labels=self.labels[:count], scores=self.scores[:count])

    def to_json(self, classes: Sequence[str] = ()) -> list[dict[str, Any]]:
        """One object: ``text`` and ``score``; without classes ``labels`` in the place of ``text``.

        Args:
            classes: the characters, such as ``pipeline.classes``.
        """
        said = {"text": self.text(classes)} if classes else {"labels": self.labels.tolist()}
        return [{**said, "score": self.score}]

    def to_arrays(self) -> dict[str, Array]:
        """``labels``, ``scores``, ``outputs`` and ``blank``."""
        numbers = {"outputs": np.array(self.outputs), "blank": np.array(self.blank)}
        return {"labels": self.labels, "scores": self.scores, **numbers}

    @classmethod
    def from_arrays(cls, arrays: Tensors) -> Self:
        """The line from its arrays; errors as of ``Result``."""
        outputs, blank = arrays["outputs"], arrays["blank"]
        if any(array.shape != () or array.dtype.kind not in "iu" for array in (outputs, blank)):
            raise ValueError("expected outputs and blank as whole numbers")
        return cls(arrays["labels"], arrays["scores"], int(outputs), int(blank))

    @classmethod
    def agreement(cls, expected: Sequence[Self], actual: Sequence[Self]) -> Agreement:
        """Count the texts that are the same, character by character."""
        pairs = list(zip(expected, actual, strict=True))
        distances = [edit_distance(first.labels, second.labels) for first, second in pairs]
        mean = float(np.mean(distances)) if distances else 0.0
        return Agreement(
            matched=distances.count(0),
            total=len(distances),
            noun=cls.noun,
            details={"mean_edit_distance": mean},
            text=f"mean edit distance {mean:.3f}",
        )

    def lines(self, classes: Sequence[str] = ()) -> list[str]:
        """The text and its score; without classes the outputs."""
        if not len(self):
            return []
        said = self.text(classes) if classes else " ".join(map(str, self.labels.tolist()))
        return [f"{self.score:.3f}  {said}"]

    def summary(self, classes: Sequence[str] = ()) -> str:
        """How many characters there are."""
        if not len(self):
            return "no text"
        return f"{len(self)} {'character' if len(self) == 1 else 'characters'}"


def edit_distance(first: Array, second: Array) -> int:
    """How many characters have to be put in, taken out or changed to get from one to the other.

    Examples:
        >>> edit_distance(np.array([1, 2, 3]), np.array([1, 3, 3, 4]))
        2
    """
    columns = np.arange(len(second) + 1)
    distances = columns
    for number, label in enumerate(first, start=1):
        changed = distances[:-1] + (second != label)
        best = np.concatenate(([number], np.minimum(distances[1:] + 1, changed)))
        distances = np.minimum.accumulate(best - columns) + columns  # put in from the left
    return int(distances[-1])
