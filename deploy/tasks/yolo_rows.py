"""What the heads of all YOLO families have in common: rows of anchors, thresholds, suppression."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, log
from typing import Annotated, Literal, NamedTuple

import numpy as np

from backends.bounds import Between, Length
from backends.contract import Array
from deploy.runtime.vision.nms import nms
from deploy.tasks.activations import sigmoid

Scores = Literal["probabilities", "logits"]
"""Whether the model has applied the sigmoid to its scores."""


Strides = Annotated[tuple[Annotated[int, Between(1, 4096)], ...], Length(1, 16)]
"""Pixels of the input tensor per cell of each map of a head."""


_SLACK = 1e-3  # logits so far below a threshold are still computed exactly


@dataclass(frozen=True)
class Filter:
    """Which pairs of an anchor and a class are candidates.

    Attributes:
        score_thr: a score must exceed it.
        logits: whether scores are logits.
        multi_label: every class above the threshold counts, and not the best one alone.
        most: how many candidates with the best scores enter NMS.
    """

    score_thr: float
    logits: bool
    multi_label: bool = False
    most: int = 30_000


class Candidates(NamedTuple):
    """Pairs of an anchor and a class.

    Attributes:
        anchors: (n,) int64 columns of the head.
        labels: (n,) int64.
        scores: (n,) float32.
    """

    anchors: Array
    labels: Array
    scores: Array

    def take(self, chosen: Array) -> Candidates:
        """Those at these indices, or where this mask is true."""
        return Candidates(self.anchors[chosen], self.labels[chosen], self.scores[chosen])


def find_candidates(classes: Array, rule: Filter, objectness: Array | None = None) -> Candidates:
    """The candidates of one picture; those with a NaN are none.

    Args:
        classes: (classes, anchors) float32.
        rule: which of them are candidates.
        objectness: (anchors,) float32 that the scores are multiplied by, in the same units.
    """
    least = _least(rule)
    if objectness is None:
        likely = np.flatnonzero(classes.max(axis=0) > least)
    else:  # exact: the product is not above the objectness
        likely = np.flatnonzero(objectness > least)
    scores = _probabilities(classes[:, likely], rule)
    if objectness is not None:
        scores = scores * _probabilities(objectness[likely], rule)
    labels, columns = _chosen(scores, rule)
    values = scores[labels, columns].astype(np.float32, copy=False)
    found = Candidates(likely[columns], labels, values)
    finite = np.isfinite(values)
    return found if finite.all() else found.take(finite)


def _least(rule: Filter) -> float:
    """The threshold in the units of the model's scores."""
    threshold = rule.score_thr
    if not rule.logits:
        return threshold
    if not 0 < threshold < 1:
        return -inf if threshold <= 0 else inf
    return log(threshold / (1 - threshold)) - _SLACK


def _probabilities(scores: Array, rule: Filter) -> Array:
    return sigmoid(scores) if rule.logits else scores


def _chosen(scores: Array, rule: Filter) -> tuple[Array, Array]:
    """Labels and columns (n,) of what is above the threshold, column by column."""
    if rule.multi_label:
        columns, labels = np.nonzero(rule.score_thr < scores.T)
        return labels, columns
    if not scores.size:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    labels = scores.argmax(axis=0)
    columns = np.flatnonzero(scores.max(axis=0) > rule.score_thr)
    return labels[columns], columns


def best(candidates: Candidates, most: int) -> Candidates:
    """At most so many, those with the best scores; equal ones keep their order."""
    if len(candidates.scores) <= most:
        return candidates
    return candidates.take(np.argsort(-candidates.scores, kind="stable")[:most])


@dataclass(frozen=True)
class Suppression:
    """Non-maximum suppression of candidates.

    Attributes:
        iou_thr: a box is removed that overlaps a better one of its class by more than this.
        most: the largest number of objects of a picture.
        agnostic: boxes of other classes are removed too.
    """

    iou_thr: float
    most: int
    agnostic: bool = False

    def __call__(self, boxes: Array, candidates: Candidates) -> Array:
        """Indices (k,) of the boxes (n, 4) x1, y1, x2, y2 that stay, best first."""
        return self.by(nms, boxes, candidates)

    def by(self, suppress: Callable[..., Array], boxes: Array, candidates: Candidates) -> Array:
        """The same by another function, which takes what ``nms`` takes."""
        labels = np.zeros_like(candidates.labels) if self.agnostic else candidates.labels
        return suppress(boxes, candidates.scores, labels, self.iou_thr, self.most)


def end_to_end(rows: Array, score_thr: float, most: int) -> tuple[Array, Candidates]:
    """The rows of a head without NMS that are above the threshold, best first.

    Args:
        rows: (n, 4 + 2 + extra): box, score, class, and what else the head gives.
        score_thr: a score must exceed it.
        most: the largest number of rows.

    Returns:
        The rows (k, 6 + extra), and their scores and labels. Rows with a value that is not finite
        or with a negative class are dropped.
    """
    with np.errstate(invalid="ignore"):
        fine = np.isfinite(rows).all(axis=1) & (rows[:, 4] > score_thr)
        fine &= (rows[:, 5] > -0.5) & (rows[:, 5] < 1e6)
    kept = np.flatnonzero(fine)
    kept = kept[np.argsort(-rows[kept, 4], kind="stable")][:most]
    labels = np.rint(rows[kept, 5]).astype(np.int64)
    return rows[kept], Candidates(kept, labels, rows[kept, 4].astype(np.float32))
