"""The tokens of one sequence, and the next best ones of each position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from backends.contract import Array, Tensors
from deploy.runtime.results.result import Agreement, Result
from deploy.tasks.ties import near

Join = Literal["space", "none", "sentencepiece", "wordpiece"]
"""How words and pieces of words become a text: with spaces between them, or with nothing; with a
space where a piece begins with U+2581, or where it does not begin with ``##``."""

_JOINS: tuple[Join, ...] = get_args(Join)
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # of SentencePiece: U+2581


@dataclass(frozen=True)
class Tokens(Result):
    """The likeliest tokens of each position of a sequence.

    Attributes:
        ids: (T, k) int64, of each position its tokens, best first. There may be more than are
            given, so that ties are seen.
        shown: (T,) bool, the positions that count: before the end, and not ignored.
        scores: (T, k) float32 of the tokens; None where the model has decoded its tokens itself.
        top: how many tokens of a position are given.
        join: how the tokens become a text.

    Raises:
        ValueError: the arrays do not fit together.

    Examples:
        >>> import numpy as np
        >>> result = Tokens(np.array([[2], [1], [0]]), np.array([True, True, False]))
        >>> result.summary(["end", "five", "forty"])
        'forty five'
        >>> result.to_json(["end", "five", "forty"])["positions"]
        [{'token': 2, 'word': 'forty'}, {'token': 1, 'word': 'five'}]
    """

    noun: ClassVar[str] = "tokens"
    ids: npt.NDArray[np.int64]
    shown: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float32] | None = None
    top: int = 1
    join: Join = "space"

    def __post_init__(self) -> None:
        kinds = [f"{array.dtype}, {array.ndim}" for array in (self.ids, self.shown)]
        if kinds != ["int64, 2", "bool, 1"] or self.ids.shape[1] < 1:
            raise ValueError("expected ids (T, k) int64 and shown (T,) bool")
        if len(self.shown) != len(self.ids) or self.top < 1 or self.join not in _JOINS:
            raise ValueError("expected shown for each position, a top from 1 up and a known join")
        if self.scores is not None and (
            self.scores.dtype != np.float32 or self.scores.shape != self.ids.shape
        ):
            raise ValueError("expected scores (T, k) float32, one for each token")

    def __len__(self) -> int:
        return int(self.shown.sum())

    def text(self, classes: Sequence[str]) -> str:
        """The best tokens as a text.

        Args:
            classes: the vocabulary, the word or piece of each token.
        """
        words = [_word(classes, token) for token in self.ids[self.shown, 0].tolist()]
        match self.join:
            case "none":
                return "".join(words)
            case "sentencepiece":
                return "".join(words).replace(_SPACE, " ").strip()
            case "wordpiece":
                return " ".join(words).replace(" ##", "")
        return " ".join(words)

    def to_json(self, classes: Sequence[str] = ()) -> dict[str, Any]:
        """``positions``, and the ``text`` if the words are known.

        Each position has ``token``, ``word`` if known, ``score`` unless the model has decoded its
        tokens itself, and ``others``, the next best tokens, where more than one is given. A score
        that is no number is None.
        """
        positions = []
        for row in self._rows():
            first, *others = ({**_named(classes, token), **score} for token, score in row)
            positions.append({**first, "others": others} if self.top > 1 else first)
        return {**({"text": self.text(classes)} if classes else {}), "positions": positions}

    def _rows(self) -> list[list[tuple[int, dict[str, float | None]]]]:
        """Of each position that counts the tokens that are given, with their scores."""
        ids = self.ids[self.shown, : self.top].tolist()
        if self.scores is None:
            return [[(token, {}) for token in row] for row in ids]
        rows = zip(ids, self.scores[self.shown, : self.top].tolist(), strict=True)
        return [
            [
                (token, {"score": score if np.isfinite(score) else None})
                for token, score in zip(*row, strict=True)
            ]
            for row in rows
        ]

    def to_arrays(self) -> dict[str, Array]:
        """``ids``, ``shown``, ``top``, ``join`` as its place among the known ones, ``scores``."""
        arrays: dict[str, Array] = {
            "ids": self.ids,
            "shown": self.shown,
            "top": np.array(self.top, np.int64),
            "join": np.array(_JOINS.index(self.join), np.int64),
        }
        return arrays if self.scores is None else {**arrays, "scores": self.scores}

    @classmethod
    def from_arrays(cls, arrays: Tensors) -> Self:
        """The result from its arrays; errors as of ``Result``."""
        join, top = _number(arrays["join"]), _number(arrays["top"])
        if not 0 <= join < len(_JOINS):
            raise ValueError(f"expected a join below {len(_JOINS)}")
        scores = arrays.get("scores")
        return cls(arrays["ids"], arrays["shown"], scores, top, _JOINS[join])

    @classmethod
    def agreement(cls, expected: Sequence[Self], actual: Sequence[Self]) -> Agreement:
        """Compare the best token of each position that counts in either of two sequences.

        Tokens whose scores are equal but for rounding are as good as each other: a model that
        ranks them the other way agrees.
        """
        counts = [_matched(*pair) for pair in zip(expected, actual, strict=True)]
        differences = [difference for *_, difference in counts if difference is not None]
        matched = sum(matched for matched, *_ in counts)
        total = sum(total for _, total, _ in counts)
        if not differences:
            return Agreement(matched, total, cls.noun)
        most = max(differences)
        details = {"score_difference": most}
        return Agreement(matched, total, cls.noun, details, f"scores within {most:.4f}")

    def lines(self, classes: Sequence[str] = ()) -> list[str]:
        """The tokens of each position with their scores; without scores all in one line."""
        if self.scores is None:
            return [self.summary(classes)]
        ids = self.ids[self.shown, : self.top].tolist()
        scores = self.scores[self.shown, : self.top].tolist()
        return [
            "  ".join(
                f"{_word(classes, token):<16} {score:.3f}"
                for token, score in zip(*row, strict=True)
            )
            for row in zip(ids, scores, strict=True)
        ]

    def summary(self, classes: Sequence[str] = ()) -> str:
        """The text, or the numbers of the tokens where the words are not known."""
        return self.text(classes) or "no tokens"


def _number(array: Array) -> int:
    if array.shape != () or array.dtype.kind != "i":
        raise ValueError("expected a single whole number")
    return int(array)


def _word(classes: Sequence[str], token: int) -> str:
    return classes[token] if 0 <= token < len(classes) else str(token)


def _named(classes: Sequence[str], token: int) -> dict[str, Any]:
    known = 0 <= token < len(classes)
    return {"token": token, **({"word": classes[token]} if known else {})}


def _matched(expected: Tokens, actual: Tokens) -> tuple[int, int, float | None]:
    """How many positions have the same token, how many there are, and how far scores differ.

    A position behind the end of one sequence is compared as well: both models have said something
    there, unless they have decoded their tokens themselves.
    """
    common = min(len(expected.ids), len(actual.ids))
    counting = expected.shown[:common] | actual.shown[:common]
    rest = sum(int(result.shown[common:].sum()) for result in (expected, actual))
    total = int(counting.sum()) + rest
    same = expected.ids[:common, 0] == actual.ids[:common, 0]
    if expected.scores is None or actual.scores is None:
        return int((same & counting).sum()), total, None
    same |= _ties(expected, actual, common) & _ties(actual, expected, common)
    best = expected.scores[:common, 0], actual.scores[:common, 0]
    same &= np.isfinite(best[0]) & np.isfinite(best[1])
    with np.errstate(invalid="ignore"):
        gaps = np.abs(best[0] - best[1])[counting]
    difference = float(gaps[np.isfinite(gaps)].max(initial=0.0))
    return int((same & counting).sum()), total, difference


def _ties(result: Tokens, other: Tokens, count: int) -> Array:
    """Where the best token of the other result has, but for rounding, the best score of this."""
    assert result.scores is not None, "the caller has looked"
    rival = result.ids[:count] == other.ids[:count, :1]
    ties: Array = (rival & near(result.scores[:count], result.scores[:count, :1])).any(axis=1)
    return ties
