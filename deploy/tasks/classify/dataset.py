"""A folder of pictures for each class, and how often a classifier names the right one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import ClassVar

import numpy as np

from deploy.runtime.accuracy.dataset import Dataset, DatasetError, Scores, wrong_kind
from deploy.runtime.inputs.sources import PICTURE_SUFFIXES
from deploy.runtime.results.result import Result
from deploy.tasks.classify.result import Classification

_TOP = 5


class ClassFolders(Dataset):
    """A folder with a folder of pictures for each class, as torchvision's ``ImageFolder``.

    Folders are named by the model's classes. Where none of them has such a name, and there are as
    many folders as classes, they stand for the classes in the order of their names. Pictures are
    taken from all classes in turn, so that a limit leaves a bit of each. A judgement is the rank
    that the model gives to the right class, from 0.
    """

    titles: ClassVar[Mapping[str, str]] = {"top_1": "top-1 accuracy", "top_5": "top-5 accuracy"}

    def __init__(self, path: Path, classes: Sequence[str] = (), limit: int | None = None) -> None:
        """As of ``Dataset``; the path is the outer folder."""
        folders = sorted(folder for folder in _entries(path) if folder.is_dir())
        labels = _labels(path, [folder.name for folder in folders], classes)
        pairs = list(islice(_in_turn(folders, labels), limit))
        if not pairs:
            raise _no_dataset(path, "no pictures in them" if folders else "no folders")
        self.pictures = {number: picture for number, (picture, _) in enumerate(pairs)}
        self._labels = [label for _, label in pairs]

    def judge(self, picture: int, result: Result) -> list[int]:
        """The rank of the right class."""
        if not isinstance(result, Classification):
            raise wrong_kind(Classification, result)
        label = self._labels[picture]
        if label >= len(result.scores):
            raise DatasetError(
                "classes of the data set",
                expected=f"at most {len(result.scores)}, one for each score of the model",
                got=f"class number {label + 1}",
            )
        scores = np.nan_to_num(result.scores, nan=-np.inf)
        ahead = scores > scores[label]
        ahead[:label] |= scores[:label] == scores[label]  # the first of equal ones is ranked first
        return [int(ahead.sum()) if np.isfinite(scores[label]) else len(scores)]

    def summarise(self, judgements: Sequence[int]) -> Scores:
        """The share of pictures whose class is the likeliest, and is among the five likeliest."""
        ranks = np.asarray(judgements)
        return {"top_1": float(np.mean(ranks < 1)), "top_5": float(np.mean(ranks < _TOP))}


def _entries(path: Path) -> list[Path]:
    if not path.is_dir():
        raise _no_dataset(path, "a file" if path.exists() else "nothing")
    return list(path.iterdir())


def _labels(path: Path, names: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The label of each folder."""
    if not classes:
        return list(range(len(names)))
    unknown = [name for name in names if name not in classes]
    if not unknown:
        return [classes.index(name) for name in names]
    if len(unknown) == len(names) == len(classes):
        return list(range(len(names)))
    raise DatasetError(
        f"classes of data set '{path}'",
        expected=f"folders named as the {len(classes)} classes of the model",
        got=f"{len(names)} folders, of which {len(unknown)} have another name, such as "
        f"'{unknown[0]}'",
    )


def _in_turn(folders: Sequence[Path], labels: Sequence[int]) -> Iterator[tuple[Path, int]]:
    """Each picture with its label, one of each folder after the other."""
    pictures = [
        sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES)
        for folder in folders
    ]
    for row in zip_longest(*pictures):
        yield from ((file, label) for file, label in zip(row, labels, strict=True) if file)


def _no_dataset(path: Path, got: str) -> DatasetError:
    return DatasetError(
        f"data set '{path}'",
        expected="a folder that has a folder of pictures for each class",
        got=got,
    )


DATASETS: Mapping[type[Result], type[Dataset]] = {Classification: ClassFolders}
"""The data sets by the class of the results that they judge."""
