"""A map of text to boxes around its lines, as DBNet defines them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from backends.bounds import Between
from backends.contract import Array
from deploy.runtime.results.result import Result
from deploy.runtime.vision.parameters import BoxCount
from deploy.runtime.vision.placement import Placement
from deploy.tasks.activations import sigmoid
from deploy.tasks.boxes import shape_error
from deploy.tasks.text.boxes import TextBoxes
from deploy.tasks.text.components import Runs, label_runs, runs_of
from deploy.tasks.text.rectangles import rectangles_around

Share = Annotated[float, Between(0, 1)]


class DetectText:
    """The map of a text detector to boxes around lines of text.

    One tensor: (N, 1, h, w) or (N, h, w) floats, the probability that a pixel belongs to the shrunk
    inside of a line of text, of the input's size or coarser. That is what DBNet and DBNet++ give,
    and with them the detectors of PP-OCR.

    Pixels above ``thresh`` that touch are a component. It gets the rectangle of the smallest area
    around it, and the mean of the map inside as its score. The rectangle then grows on each side by
    ``area * unclip_ratio / perimeter``, which undoes the shrinking that the model was trained with.
    Sizes are in pixels of the map, from centre to centre, as PP-OCR measures them.

    PP-OCR finds a further box around each hole of a component, which its scores then refuse; here a
    hole is none. PP-OCR rounds boxes to whole pixels and clips them to the picture.

    Formula:
        1. The tensor (1, 1, h, w) or (1, h, w) is a map of probabilities; where ``scores`` is
           logits, 1 / (1 + exp(-v)) of it. A pixel is text where it exceeds ``thresh``; with
           ``use_dilation`` the pixels to the right of, below and below right of one are text too.
        2. Pixels of text that touch, also at a corner, are a component. Of each component, around
           the centres of its pixels, take the rotated rectangle of the smallest area; one of its
           sides lies along a side of the convex hull. Leave out those whose shorter side is below
           ``min_size``. Only the ``max_candidates`` components with the most pixels count.
        3. The score is the mean of the map inside of the rectangle, corners rounded down, with the
           pixels that its sides run through. Leave out scores below ``box_thresh``.
        4. Move each side outwards by area * ``unclip_ratio`` / perimeter. Leave out those whose
           shorter side is now below ``min_size`` + 2.
        5. Corners are clockwise from the top left; the first side points to the right, within 45
           degrees. Boxes come in rows from the top, each row from the left; a box is in the row of
           the one before where its centre is above the lower end (centre plus half the height) of
           the row's first box.
        6. To pixels of the input tensor: x times W / w, y times H / h.

    Args:
        thresh: the probability above which a pixel is text.
        box_thresh: the least score of a box.
        unclip_ratio: how far boxes grow.
        min_size: the shorter side of a rectangle at least, before it grows; after that two more.
        max_candidates: of so many components, the largest, a box is computed.
        use_dilation: whether the text is first made one pixel larger at its right and its bottom.
        scores: what the map holds: probabilities, or logits.

    Examples:
        >>> import numpy as np
        >>> text = np.zeros((1, 1, 20, 40), np.float32)
        >>> text[0, 0, 8:13, 10:31] = 0.9
        >>> (boxes,) = DetectText(unclip_ratio=1.5).batch([text])
        >>> boxes.quads.tolist()
        [[[7.5, 5.5], [32.5, 5.5], [32.5, 14.5], [7.5, 14.5]]]
    """

    result: ClassVar[type[Result]] = TextBoxes

    def __init__(
        self,
        thresh: Share = 0.3,
        box_thresh: Share = 0.6,
        unclip_ratio: Annotated[float, Between(0, 100)] = 1.5,
        min_size: Annotated[float, Between(0, 1_000)] = 3,
        max_candidates: BoxCount = 1000,
        use_dilation: bool = False,
        scores: Literal["probabilities", "logits"] = "probabilities",
    ) -> None:
        self._thresh = thresh
        self._box_thresh = box_thresh
        self._unclip_ratio = unclip_ratio
        self._min_size = min_size
        self._max_candidates = max_candidates
        self._use_dilation = use_dilation
        self._is_logits = scores == "logits"

    def batch(self, tensors: Sequence[Array]) -> list[TextBoxes]:
        """The boxes of each picture of a batch.

        Raises:
            TensorError: another number or shape of tensors.
        """
        shapes = [tensor.shape for tensor in tensors]
        is_map = len(shapes) == 1 and (
            len(shapes[0]) == 3 or (len(shapes[0]) == 4 and shapes[0][1] == 1)
        )
        if not is_map or 0 in shapes[0][1:]:
            raise shape_error(
                tensors,
                "one map [N, 1, h, w] or [N, h, w] of the probability that a pixel is text",
                "Where the model has further outputs, name the map: "
                "model.post={id: text.detect, inputs: [NAME]}.",
            )
        maps = tensors[0].reshape(shapes[0][0], *shapes[0][-2:]).astype(np.float32)
        return [self._boxes(self._probabilities(each)) for each in maps]

    def _probabilities(self, values: Array) -> Array:
        """What is no number is no text."""
        known = np.nan_to_num(values, nan=-np.inf if self._is_logits else 0.0, posinf=None)
        return sigmoid(known) if self._is_logits else known.clip(0, 1)

    def _boxes(self, text: Array) -> TextBoxes:
        """The boxes of one map (h, w)."""
        runs, components, count = self._components(text)
        rectangles = rectangles_around(runs, components, count)
        rectangles = rectangles.take(rectangles.shorter_sides() >= self._min_size)
        scores = np.array([_mean_inside(text, corners) for corners in rectangles.corners()])
        good = scores >= self._box_thresh
        rectangles, scores = rectangles.take(good), scores[good]
        rectangles = rectangles.grown(self._unclip_ratio)
        good = rectangles.shorter_sides() >= self._min_size + 2
        quads = rectangles.take(good).corners()
        order, (height, width) = _reading_order(quads), text.shape
        return UnplacedTextBoxes(
            quads[order].astype(np.float32), scores[good][order].astype(np.float32), (height, width)
        )

    def _components(self, text: Array) -> tuple[Runs, Array, int]:
        """The runs of the largest components that may be high and wide enough, and how many."""
        mask = text > self._thresh
        if self._use_dilation:
            mask = _dilated(mask)
        runs = runs_of(mask)
        components = label_runs(runs, mask.shape[1])
        chosen = _largest(runs, components, self._min_size, self._max_candidates)
        number = np.full(components.max(initial=-1) + 1, -1)
        number[chosen] = np.arange(len(chosen))
        kept = number[components] >= 0
        return runs.take(kept), number[components[kept]], len(chosen)


def _dilated(mask: Array) -> Array:
    """As by a kernel of 2 x 2."""
    mask = mask.copy()
    mask[:, 1:] |= mask[:, :-1].copy()
    mask[1:] |= mask[:-1].copy()
    return mask


def _largest(runs: Runs, components: Array, min_size: float, most: int) -> Array:
    """The components with the most pixels, of those whose rectangle may be large enough.

    The shorter side of the smallest rectangle is at most 1.42 times that of the upright box: in
    between are the areas of both, which are at most the same, and the larger extent, which both
    have to hold.
    """
    count = components.max(initial=-1) + 1
    low, high = np.full((2, count, 2), 1 << 40)
    high = -high
    for axis, (first, last) in enumerate(((runs.first, runs.last), (runs.row, runs.row))):
        np.minimum.at(low[:, axis], components, first)
        np.maximum.at(high[:, axis], components, last)
    possible = np.flatnonzero(1.42 * (high - low).min(axis=1) >= min_size)
    pixels = np.bincount(components, runs.last - runs.first + 1, minlength=count)
    ranked = possible[np.argsort(-pixels[possible], kind="stable")]
    return ranked[:most]


def _mean_inside(text: Array, corners: Array) -> float:
    """The mean of the map over a rectangle (4, 2) and the pixels that its sides run through.

    Corners are first rounded down, so that scores are PP-OCR's.
    """
    corners = np.floor(corners).astype(int)
    (left, top), (right, bottom) = corners.min(axis=0).clip(0), corners.max(axis=0) + 1
    window = text[top:bottom, left:right]
    x = np.arange(left, left + window.shape[1])
    y = np.arange(top, top + window.shape[0])
    sides = np.roll(corners, -1, axis=0) - corners
    below = sides[:, :1] * (y - corners[:, 1:])  # (4, height)
    beside = sides[:, 1:] * (x - corners[:, :1])  # (4, width)
    slack = np.abs(sides).max(axis=1)[:, None, None] / 2
    inside = (below[:, :, None] - beside[:, None] >= -slack).all(axis=0)
    return float(window[inside].mean()) if inside.any() else 0.0


def _reading_order(quads: Array) -> Array:
    """Rows from the top, each from the left.

    A box is in the row of the one before where its centre is higher than the lower end of the row's
    first box.
    """
    x, y = quads.mean(axis=1).T
    half_heights = np.hypot(*(quads[:, 3] - quads[:, 0]).T) / 2
    rows, row, end = np.zeros(len(quads), int), 0, -np.inf
    for index in np.argsort(y, kind="stable"):
        if y[index] >= end:
            row, end = row + 1, y[index] + half_heights[index]
        rows[index] = row
    order: Array = np.lexsort((x, rows))
    return order


@dataclass(frozen=True)
class UnplacedTextBoxes(TextBoxes):
    """Boxes in pixels of the model's map.

    Attributes:
        grid: height and width of the map.
    """

    grid: tuple[int, int] = (1, 1)

    def placed(self, placement: Placement) -> TextBoxes:
        """In pixels of the picture."""
        height, width = placement.tensor_size
        scale = np.array((width / self.grid[1], height / self.grid[0]))
        return TextBoxes(placement.points_back(self.quads * scale), self.scores)
