"""Which detections of two models are the same, and how far they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backends.acceptance import CONFIDENT, MATCH_IOU, matched_share
from deploy.runtime.vision.detections import Detections
from deploy.runtime.vision.nms import iou_of


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


@dataclass(frozen=True)
class DetectionAgreement:
    """How many confident detections two models share, counted from both sides.

    Attributes:
        matched: those that have a partner.
        total: all of them.
        box: the largest difference of a coordinate within a pair, in pixels.
        score: the largest difference of the scores within a pair.
        mask: the smallest IoU of the masks within a pair; None where there are none.
    """

    matched: int
    total: int
    box: float = 0.0
    score: float = 0.0
    mask: float | None = None

    @property
    def share(self) -> float:
        """From 0 to 1; 1 where there is nothing to find."""
        return matched_share(self.matched, self.total)


def detection_agreement(
    expected: Sequence[Detections], actual: Sequence[Detections]
) -> DetectionAgreement:
    """Match the confident detections of either model with all detections of the other one.

    Args:
        expected: what one model finds, picture by picture.
        actual: what the other model finds in the same pictures.
    """
    pictures = list(zip(expected, actual, strict=True))
    matches = [_match_confident(first, second) for first, second in pictures]
    matches += [_match_confident(second, first) for first, second in pictures]
    return DetectionAgreement(
        matched=sum(match.matched for match in matches),
        total=sum(match.matched + match.missing for match in matches),
        box=max((match.box for match in matches), default=0.0),
        score=max((match.score for match in matches), default=0.0),
        mask=min((match.mask for match in matches if match.mask is not None), default=None),
    )


def _match_confident(expected: Detections, actual: Detections) -> Match:
    return match_detections(expected.above(CONFIDENT), actual)


def match_detections(expected: Detections, actual: Detections, iou: float = MATCH_IOU) -> Match:
    """How many detections are the same in both, and how far the pairs are apart.

    See ``pair_detections`` for the arguments.
    """
    return _summary(expected, actual, pair_detections(expected, actual, iou))


def pair_detections(
    expected: Detections, actual: Detections, iou: float = MATCH_IOU
) -> list[tuple[int, int]]:
    """Pair each expected detection with the best actual one that is still free.

    Args:
        expected: best first.
        actual: best first.
        iou: the least overlap of a pair, of its boxes and of its masks; labels must be equal.

    Returns:
        The indices of each pair: of the expected detection, and of the actual one.
    """
    free = np.ones(len(actual), dtype=bool)
    pairs: list[tuple[int, int]] = []
    for index in range(len(expected)):
        same_label = free & (actual.labels == expected.labels[index])
        overlaps = np.where(same_label, iou_of(expected.boxes[index], actual.boxes), -1.0)
        for candidate in map(int, np.flatnonzero(overlaps >= iou)):
            mask_overlap = _mask_iou(expected, actual, (index, candidate))
            overlaps[candidate] = min(overlaps[candidate], mask_overlap)
        if len(overlaps) and overlaps.max() >= iou:
            best = int(overlaps.argmax())
            free[best] = False
            pairs.append((index, best))
    return pairs


def _summary(expected: Detections, actual: Detections, pairs: list[tuple[int, int]]) -> Match:
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


def _mask_iou(expected: Detections, actual: Detections, pair: tuple[int, int]) -> float:
    if expected.masks is None or actual.masks is None:
        return 1.0
    return expected.masks.iou(pair[0], actual.masks, pair[1])
