"""The contract of a data set: pictures with the truth, and how well results meet it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from backends.contract import DeployError
from deploy.runtime.results.result import Result

Detect = Callable[[Path], Result]
"""A picture's path -> the result of it, in the picture's own pixels."""


Scores = Mapping[str, float]
"""The figures of an evaluation by their names in a manifest, the most important one first."""


class DatasetError(DeployError):
    """A file or folder that is no data set, or has other classes than the model."""


class Dataset(ABC):
    """Pictures, and what is in them.

    A picture is judged alone, so that results need not be kept; the judgements of all pictures give
    the scores. Judgements are of any type.

    Attributes:
        titles: the figures that it can give: the title of each for people, by its name in a
            manifest; the most important one first. All are from 0 to 1, and more is better.
        pictures: the path of each picture, by its number.
    """

    titles: ClassVar[Mapping[str, str]]
    pictures: Mapping[int, Path]

    @abstractmethod
    def __init__(self, path: Path, classes: Sequence[str], limit: int | None = None) -> None:
        """Read the data set; its pictures are not opened.

        Args:
            path: its file or folder.
            classes: the names of the model's labels; empty where they are not known.
            limit: how many of its pictures count; by default all.

        Raises:
            DatasetError: it is missing, of another form, or has other classes.
            MissingLibraryError: the library that reads it is not installed.
        """

    @abstractmethod
    def judge(self, picture: int, result: Result) -> Sequence[Any]:
        """The judgements of one picture.

        Args:
            picture: its number.
            result: what a model says of it, in the picture's own pixels.

        Raises:
            DatasetError: the result does not fit the truth, such as a label that it does not know.
        """

    @abstractmethod
    def summarise(self, judgements: Sequence[Any]) -> Scores:
        """The scores over the judgements of all pictures, keys as in ``titles``."""


def wrong_kind(expected: type[Result], result: Result) -> DatasetError:
    """The error of a result that a data set cannot judge."""
    return DatasetError("results", expected=expected.noun, got=result.noun)
