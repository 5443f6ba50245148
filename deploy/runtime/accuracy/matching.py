"""Which detections of two runs are the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deploy.runtime.vision.detections import Detections
from deploy.runtime.vision.nms import iou_of


@dataclass(frozen=True)
class Match:
    """Pairs of equal label that overlap enough.

    Attributes:
        matched: how many pairs there are.
        missing: expected detections without a partner.
        extra: actual detections without a partner.
        box: the largest difference of a coordinate within a pair, in pixels.
        score: the largest difference of the scores within a pair.
        mask: the least IoU of the masks within a pair; nothing where there are none.
    """

    matched: int
    missing: int
    extra: int
    box: float
    score: float
    mask: float | None = None


def match_detections(expected: Detections, actual: Detections, iou: float = 0.9) -> Match:
    """How many detections are the same in both, and how far the pairs are apart; see ``pair``."""
    return _summary(expected, actual, pair_detections(expected, actual, iou))


def pair_detections(
    expected: Detections, actual: Detections, iou: float = 0.9
) -> list[tuple[int, int]]:
    """Pair each expected detection with the best actual one that is still free, by their indices.

    Args:
        expected: best first.
        actual: best first.
        iou: the least overlap of a pair, of its boxes and of its masks; labels must be equal.
    """
    free = np.ones(len(actual), dtype=bool)
    pairs: list[tuple[int, int]] = []
    for index in range(len(expected)):
        same = free & (actual.labels == expected.labels[index])
        overlaps = np.where(same, iou_of(expected.boxes[index], actual.boxes), -1.0)
        for other in np.flatnonzero(overlaps >= iou):
            overlaps[other] = min(overlaps[other], _mask_iou(expected, actual, index, int(other)))
        if len(overlaps) and overlaps.max() >= iou:
            best = int(overlaps.argmax())
            free[best] = False
            pairs.append((index, best))
    return pairs


def _summary(expected: Detections, actual: Detections, pairs: list[tuple[int, int]]) -> Match:
    ours, theirs = (
        (np.array(side, dtype=int) for side in zip(*pairs, strict=True))
        if pairs
        else (np.empty(0, int), np.empty(0, int))
    )
    boxes = np.abs(expected.boxes[ours] - actual.boxes[theirs])
    scores = np.abs(expected.scores[ours] - actual.scores[theirs])
    return Match(
        matched=len(pairs),
        missing=len(expected) - len(pairs),
        extra=len(actual) - len(pairs),
        box=float(boxes.max(initial=0.0)),
        score=float(scores.max(initial=0.0)),
        mask=None
        if expected.masks is None or actual.masks is None
        else min((_mask_iou(expected, actual, *pair) for pair in pairs), default=None),
    )


def _mask_iou(expected: Detections, actual: Detections, one: int, other: int) -> float:
    if expected.masks is None or actual.masks is None:
        return 1.0
    return expected.masks.iou(one, actual.masks, other)
