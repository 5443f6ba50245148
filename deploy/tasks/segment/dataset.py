"""Pictures with a map of labels each, and how well the maps of a segmenter meet them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from PIL import Image

from backends.contract import Array
from deploy.runtime.accuracy.dataset import Dataset, DatasetError, Scores, wrong_kind
from deploy.runtime.inputs.sources import PICTURE_SUFFIXES
from deploy.runtime.results.result import Result
from deploy.tasks.segment.result import NO_CLASS, SegmentationMap

_IGNORED = 255  # in a map of 8 bits, as of Pascal VOC and Cityscapes


class LabelCounts(NamedTuple):
    """How often each pair of labels occurs in a picture.

    Attributes:
        pairs: (n, 2) int64, the true label and the model's.
        counts: (n,) int64 pixels.
    """

    pairs: Array
    counts: Array


class LabelMaps(Dataset):
    """A folder with ``images/NAME.jpg`` and ``labels/NAME.png``.

    A map of labels has the height and width of its picture and one channel: grey or with a palette,
    of 8 bits, where 255 stands for pixels that do not count, or of 16 bits, where 65535 does. A
    judgement counts the pixels of each pair of labels.
    """

    titles: ClassVar[Mapping[str, str]] = {
        "miou": "mean IoU over classes",
        "pixel_accuracy": "pixel accuracy",
    }

    def __init__(self, path: Path, classes: Sequence[str] = (), limit: int | None = None) -> None:
        """As of ``Dataset``; the path is the outer folder."""
        images, labels = path / "images", path / "labels"
        if not images.is_dir() or not labels.is_dir():
            raise _no_dataset(path, "a folder without both" if path.is_dir() else "none")
        files = sorted(file for file in images.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES)
        if not files:
            raise _no_dataset(path, "no pictures in images/")
        self.pictures = dict(enumerate(files[:limit]))
        self._maps = [labels / f"{file.stem}.png" for file in self.pictures.values()]
        self._classes = len(classes)
        missing = [file.name for file in self._maps if not file.is_file()]
        if missing:
            raise _no_dataset(path, f"no labels/{missing[0]} ({len(missing)} are missing)")

    def judge(self, picture: int, result: Result) -> list[LabelCounts]:
        """The pixels of each pair of labels."""
        if not isinstance(result, SegmentationMap):
            raise wrong_kind(SegmentationMap, result)
        truth = self._read(self._maps[picture])
        if truth.shape != result.labels.shape:
            raise DatasetError(
                f"labels '{self._maps[picture]}'",
                expected=f"the picture's height and width {list(result.labels.shape)}",
                got=str(list(truth.shape)),
            )
        valid = truth != NO_CLASS
        codes = truth[valid] * (1 << 16) + result.labels[valid]
        codes, counts = np.unique(codes, return_counts=True)
        return [LabelCounts(np.stack([codes >> 16, codes & 0xFFFF], axis=1), counts)]

    def summarise(self, judgements: Sequence[LabelCounts]) -> Scores:
        """The IoU of each class over all pixels, as a mean over classes that occur; accuracy.

        A pixel to which the model gives no class counts as wrong.
        """
        pairs = np.concatenate([each.pairs for each in judgements])
        counts = np.concatenate([each.counts for each in judgements])
        if not counts.sum():
            return dict.fromkeys(self.titles, 0.0)
        truth, said = pairs.T
        right = truth == said
        labels = np.setdiff1d(pairs, NO_CLASS)
        overlaps = [
            counts[right & (truth == label)].sum()
            / counts[(truth == label) | (said == label)].sum()
            for label in labels
        ]
        accuracy = counts[right].sum() / counts.sum()
        return {"miou": float(np.mean(overlaps)), "pixel_accuracy": float(accuracy)}

    def _read(self, file: Path) -> Array:
        """The labels (height, width) int64, ``NO_CLASS`` where a pixel does not count."""
        try:
            with Image.open(file) as picture:
                labels = np.asarray(picture)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DatasetError(
                f"labels '{file}'", expected="a PNG picture", got=type(error).__name__
            ) from error
        if labels.ndim != 2 or labels.dtype.kind not in "iu":
            raise DatasetError(
                f"labels '{file}'",
                expected="one channel of integers, grey or with a palette",
                got=f"{'x'.join(map(str, labels.shape))}, {labels.dtype}",
            )
        ignored = _IGNORED if labels.dtype == np.uint8 else NO_CLASS
        labels = np.where(labels == ignored, NO_CLASS, labels.astype(np.int64))
        self._check_labels(file, labels)
        return labels

    def _check_labels(self, file: Path, labels: Array) -> None:
        known = labels[labels != NO_CLASS]
        most = int(known.max(initial=0))
        if self._classes and most >= self._classes:
            raise DatasetError(
                f"labels '{file}'",
                expected=f"labels below {self._classes}, the number of the model's classes",
                got=str(most),
            )


def _no_dataset(path: Path, got: str) -> DatasetError:
    return DatasetError(
        f"data set '{path}'",
        expected="a folder with images/NAME.jpg and labels/NAME.png",
        got=got,
    )


DATASETS: Mapping[type[Result], type[Dataset]] = {SegmentationMap: LabelMaps}
"""The data sets by the class of the results that they judge."""
