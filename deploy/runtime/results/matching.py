"""Which detections of two models are the same, and how far they agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from backends.acceptance import MATCH_IOU
from backends.contract import Array
from deploy.runtime.results.masks import Masks
from deploy.runtime.vision.nms import iou_of


class LabelledBoxes(Protocol):
    """What detections have; see ``Detections``."""

    @property
    def boxes(self) -> Array:
        """Boxes (n, 4)."""

    @property
    def scores(self) -> Array:
        """Scores (n,)."""

    @property
    def labels(self) -> Array:
        """Labels (n,)."""

    @property
    def masks(self) -> Masks | None:
        """The mask of each, if there are masks."""

    def __len__(self) -> int:
        """How many there are."""


@dataclass(frozen=True)
class Match:
    """The pairs of expected and actual detections that are the same.

    Attributes:
        matched: how many pairs there are.
        missing: expected detections without a partner.
        extra: actual detections without a partner.
        box: the largest difference of a coordinate within a pair, in pixels.
        score: the largest difference of the scores within a pair.
        mask: the smallest IoU of the masks within a pair; None where there are none.
    """

    matched: int
    missing: int
    extra: int
    box: float
    score: float
    mask: float | None = None


def match_detections(
    expected: LabelledBoxes, actual: LabelledBoxes, iou: float = MATCH_IOU
) -> Match:
    """How many detections are the same in both, and how far the pairs are apart.

    See ``pair_detections`` for the arguments.
    """
    return _summary(expected, actual, pair_detections(expected, actual, iou))


def pair_detections(
    expected: LabelledBoxes, actual: LabelledBoxes, iou: float = MATCH_IOU
) -> list[tuple[int, int]]:
    """Pair each expected detection with the best actual one that is still free.

    Args:
        expected: best first.
        actual: best first.
        iou: the least overlap of a pair, of its boxes and of its masks; labels must be equal.

    Returns:
        The indices of each pair: of the expected detection, and of the actual one.
    """

    def overlaps_of(index: int, candidates: Array) -> Array:
        overlaps = np.where(candidates, iou_of(expected.boxes[index], actual.boxes), -1.0)
        for candidate in map(int, np.flatnonzero(overlaps >= iou)):
            mask_overlap = _mask_iou(expected, actual, (index, candidate))
            overlaps[candidate] = min(overlaps[candidate], mask_overlap)
        return overlaps

    return pair_by_overlap(expected.labels, actual.labels, overlaps_of, iou)


def pair_by_overlap(
    expected: Array, actual: Array, overlaps_of: Callable[[int, Array], Array], least: float
) -> list[tuple[int, int]]:
    """Pair each expected object with the actual one that overlaps most and is still free.

    Args:
        expected: labels (n,), best object first.
        actual: labels (m,), likewise.
        overlaps_of: the overlaps (m,) of an expected object, by its index, with the actual ones;
            they count where the boolean array (m,) that it gets is true.
        least: the least overlap of a pair.

    Returns:
        The indices of each pair.
    """
    free = np.ones(len(actual), dtype=bool)
    pairs: list[tuple[int, int]] = []
    for index, label in enumerate(expected):
        candidates = free & (actual == label)
        overlaps = np.where(candidates, overlaps_of(index, candidates), -1.0)
        if len(overlaps) and overlaps.max() >= least:
            best = int(overlaps.argmax())
            free[best] = False
            pairs.append((index, best))
    return pairs


def _summary(expected: LabelledBoxes, actual: LabelledBoxes, pairs: list[tuple[int, int]]) -> Match:
    indices = np.array(pairs, dtype=int).reshape(-1, 2)
    paired_expected, paired_actual = indices[:, 0], indices[:, 1]
    boxes = np.abs(expected.boxes[paired_expected] - actual.boxes[paired_actual])
    scores = np.abs(expected.scores[paired_expected] - actual.scores[paired_actual])
    return Match(
        matched=len(pairs),
        missing=len(expected) - len(pairs),
        extra=len(actual) - len(pairs),
        box=float(boxes.max(initial=0.0)),
        score=float(scores.max(initial=0.0)),
        mask=None
        if expected.masks is None or actual.masks is None
        else min((_mask_iou(expected, actual, pair) for pair in pairs), default=None),
    )


def _mask_iou(expected: LabelledBoxes, actual: LabelledBoxes, pair: tuple[int, int]) -> float:
    if expected.masks is None or actual.masks is None:
        return 1.0
    return expected.masks.iou(pair[0], actual.masks, pair[1])
