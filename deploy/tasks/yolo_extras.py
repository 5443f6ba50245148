"""Rows of YOLO heads that give more of an object than its box: keypoints, an angle, a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from backends.contract import Array
from deploy.tasks.boxes import BoxFormat, Scale, corners, shape_error, usable
from deploy.tasks.yolo_rows import (
    Candidates,
    Filter,
    Suppression,
    best,
    end_to_end,
    find_candidates,
)

Layout = Literal["auto", "anchor_free", "end_to_end"]
KnownLayout = Literal["anchor_free", "end_to_end"]


_MOST_OBJECTS = 300  # of published end-to-end heads


class Rows(NamedTuple):
    """The candidates of one picture.

    Attributes:
        boxes: (n, 4), as the model gives them.
        found: their scores and labels.
        extras: (n, extra), what the head gives behind the classes.
        final: whether they are the objects already, best first; otherwise they need NMS.
    """

    boxes: Array
    found: Candidates
    extras: Array
    final: bool

    def take(self, chosen: Array) -> Rows:
        """Those at these indices, or where this mask is true."""
        boxes, extras = self.boxes[chosen], self.extras[chosen]
        return Rows(boxes, self.found.take(chosen), extras, self.final)


@dataclass(frozen=True)
class RowReader:
    """Reads the rows of a head.

    Attributes:
        layout: ``anchor_free``: (N, 4 + classes + extra, anchors), or (N, anchors, 4 + classes +
            extra) where the number of classes is given. ``end_to_end``: (N, objects, 6 + extra),
            where score and class follow the box. ``auto``: decided by the shape.
        num_classes: by default from the shape.
        rule: which rows are candidates.
        most: the largest number of rows of an end-to-end head.
        do: what to do about another shape.
    """

    layout: Layout
    num_classes: int | None
    rule: Filter
    most: int
    do: str

    def read(self, tensors: Sequence[Array], extra: int) -> list[Rows]:
        """The candidates of each picture.

        Args:
            tensors: one tensor, as the class says.
            extra: how many numbers follow the classes.

        Raises:
            TensorError: another shape, or one that both layouts have.
        """
        layout = self._layout_of(tensors, extra)
        with np.errstate(over="ignore"):  # what is beyond float32 is no object
            tensor = tensors[0].astype(np.float32, copy=False)
        if layout == "end_to_end":
            return [self._final(picture) for picture in tensor]
        count = self._row_count(extra)
        if count is not None and tensor.shape[1] != count:
            tensor = tensor.transpose(0, 2, 1)
        return [self._candidates(picture, extra) for picture in tensor]

    def _row_count(self, extra: int) -> int | None:
        return None if self.num_classes is None else 4 + self.num_classes + extra

    def _layout_of(self, tensors: Sequence[Array], extra: int) -> KnownLayout:
        could_be = self._possible(tensors[0], extra) if len(tensors) == 1 else []
        if self.layout != "auto":
            could_be = [layout for layout in could_be if layout == self.layout]
        if len(could_be) == 1:
            return could_be[0]
        classes = "classes" if self.num_classes is None else str(self.num_classes)
        shapes = f"[N, 4 + {classes} + {extra}, anchors] or [N, objects, 6 + {extra}]"
        if could_be:
            do = "Set the parameter layout: anchor_free is the first, end_to_end the second."
            raise shape_error(tensors, f"only one of {shapes}", do)
        raise shape_error(tensors, shapes, self.do)

    def _possible(self, tensor: Array, extra: int) -> list[KnownLayout]:
        if tensor.ndim != 3:
            return []
        first, last = (int(side) for side in tensor.shape[1:])
        count, is_final = self._row_count(extra), last == 6 + extra
        if count is not None:
            is_rows = count in (first, last)
        else:  # with more rows than anchors it is likely the other way around
            is_rows = first > 4 + extra and not 0 < last <= first
        if is_final and self.layout == "auto":  # rows of two classes, turned, have this shape too
            is_rows = first > _MOST_OBJECTS and count in (None, last)
        could_be: list[KnownLayout] = ["end_to_end"] if is_final else []
        return [*could_be, "anchor_free"] if is_rows else could_be

    def _candidates(self, picture: Array, extra: int) -> Rows:
        classes = picture[4 : len(picture) - extra]
        found = best(find_candidates(classes, self.rule), self.rule.most)
        chosen = np.ascontiguousarray(picture[:, found.anchors].T)
        extras = chosen[:, chosen.shape[1] - extra :]
        rows = Rows(chosen[:, :4], found, extras, final=False)
        fine = usable(rows.boxes) & usable(extras)
        return rows if fine.all() else rows.take(fine)

    def _final(self, picture: Array) -> Rows:
        kept, found = end_to_end(picture, self.rule.score_thr, self.most)
        rows = Rows(kept[:, :4], found, kept[:, 6:], final=True)
        fine = usable(rows.boxes) & usable(rows.extras)
        return rows if fine.all() else rows.take(fine)


def with_corners(
    rows: Rows, boxes: BoxFormat | None, scale: Scale, suppression: Suppression
) -> Rows:
    """The objects of one picture: boxes as x1, y1, x2, y2 in pixels of the input tensor, after NMS.

    Args:
        rows: as they were read.
        boxes: their format; by default corners where they are the objects already.
        scale: to pixels.
        suppression: where they are not.
    """
    scaled = scale(rows.boxes)
    is_corners = rows.final if boxes is None else boxes == "xyxy"
    rows = rows._replace(boxes=scaled if is_corners else corners(scaled))
    return rows if rows.final else rows.take(suppression(rows.boxes, rows.found))
