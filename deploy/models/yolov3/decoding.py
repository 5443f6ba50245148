"""Raw head maps to boxes, class scores and objectness, for the few anchors that may count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log
from typing import NamedTuple

import numpy as np

from backends.contract import Array
from deploy.models.yolov3.anchors import STRIDES

_LARGEST = 20.0  # exp of it is far beyond any picture, and areas stay within float32


SLACK = 1e-3  # logits this far below a threshold are still computed exactly


class Pairs(NamedTuple):
    """Pairs of an anchor and a class, in the order level, row, column, anchor, class.

    Attributes:
        boxes: (n, 4) float32 in input pixels.
        scores: (n,) float32 class scores after the sigmoid.
        labels: (n,) int64.
        objectness: (n,) float32 after the sigmoid.
    """

    boxes: Array
    scores: Array
    labels: Array
    objectness: Array


@dataclass(frozen=True)
class Grid:
    """Every anchor of maps of one size, numbered level by level, and by anchor and cell in a level.

    Attributes:
        sizes: height and width of each level.
        ends: the number of the first anchor behind each level.
        place: (n, 2) anchor and cell in the level.
        rank: (n,) the place in MMDetection's order: level, row, column, anchor.
        centre: (n, 2) float32 x and y of the cell's centre in input pixels.
        half: (n, 2) float32 half the anchor's width and height in input pixels.
        stride: (n, 1) float32.
    """

    sizes: tuple[tuple[int, int], ...]
    ends: Array
    place: Array
    rank: Array
    centre: Array
    half: Array
    stride: Array


def make_grid(sizes: Sequence[tuple[int, int]], half: Array) -> Grid:
    """The anchors of maps of these heights and widths.

    Args:
        sizes: of each level, coarsest first.
        half: (levels, anchors, 2) half the anchors' widths and heights in input pixels.
    """
    parts = [_level(*level) for level in zip(sizes, half, STRIDES, strict=True)]
    place, rank, centre, halves, stride = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    ends = np.cumsum([len(part[0]) for part in parts])
    return Grid(tuple(sizes), ends, place, rank, centre, halves, stride)


def _level(size: tuple[int, int], half: Array, stride: int) -> tuple[Array, ...]:
    cells, anchors = size[0] * size[1], len(half)
    anchor, cell = np.divmod(np.arange(anchors * cells), cells)
    y, x = np.divmod(cell, size[1])
    centre = (np.stack((x, y), axis=1).astype(np.float32) + np.float32(0.5)) * np.float32(stride)
    return (
        np.stack((anchor, cell), axis=1),
        cell * anchors + anchor,
        centre,
        half[anchor],
        np.full((len(cell), 1), stride, np.float32),
    )


def pairs(maps: Sequence[Array], grid: Grid, conf_thr: float, score_thr: float) -> Pairs:
    """The pairs that may be beyond both thresholds; those a little below are there too.

    Thresholds are compared with logits, so that of most anchors the objectness alone is read.

    Args:
        maps: (anchors, 5 + classes, cells) float32 of each level, coarsest first.
        grid: for maps of this size.
        conf_thr: the least objectness.
        score_thr: class scores are above it.
    """
    objectness = np.concatenate([raw[:, 4].ravel() for raw in maps])
    likely = (objectness >= logit(conf_thr) - SLACK).nonzero()[0]
    rows, chosen = _rows(maps, grid, likely)
    classes = rows.shape[1] - 5
    counting = (rows[:, 5:] > logit(score_thr) - SLACK).ravel().nonzero()[0]
    found, label = np.divmod(counting, classes)  # twice as fast as nonzero() of two dimensions
    moves, at = rows[found, :4], chosen[found]
    scores, sure = sigmoid(rows[found, label + 5]), sigmoid(objectness[at])
    return Pairs(_boxes(moves, grid, at), scores, label, sure)


def _rows(maps: Iterable[Array], grid: Grid, likely: Array) -> tuple[Array, Array]:
    """The rows (n, 5 + classes) of these anchors in MMDetection's order, and their numbers."""
    rows, numbers = [], []
    cuts = likely.searchsorted(grid.ends)
    for raw, level in zip(maps, np.split(likely, cuts[:-1]), strict=True):
        ordered = level[grid.rank[level].argsort()]
        anchor, cell = grid.place[ordered].T
        rows.append(raw[anchor, :, cell])
        numbers.append(ordered)
    return np.concatenate(rows), np.concatenate(numbers)


def _boxes(moves: Array, grid: Grid, at: Array) -> Array:
    centre = grid.centre[at] + (sigmoid(moves[:, :2]) - np.float32(0.5)) * grid.stride[at]
    half = np.exp(np.minimum(moves[:, 2:], _LARGEST)) * grid.half[at]
    return np.concatenate((centre - half, centre + half), axis=1)


def sigmoid(x: Array) -> Array:
    """The logistic function, for any float32."""
    return 1 / (1 + np.exp(-np.maximum(x, -80)))  # exp(80) is still a float32


def logit(share: float) -> float:
    """What the sigmoid of is ``share``; infinite beyond 0 and 1."""
    return log(share / (1 - share)) if 0 < share < 1 else -np.inf if share <= 0 else np.inf
