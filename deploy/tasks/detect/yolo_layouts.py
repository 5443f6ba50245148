"""The outputs of YOLO heads by family: which axis holds what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from backends.contract import Array
from deploy.tasks.boxes import shape_error

Layout = Literal["auto", "anchor_free", "objectness", "yolox", "end_to_end", "maps"]
KnownLayout = Literal["anchor_free", "objectness", "yolox", "end_to_end", "maps"]


_BY_NAME = {
    "anchor_free": "[N, 4 + classes, anchors]",
    "objectness": "[N, anchors, 5 + classes]",
    "yolox": "[N, anchors, 5 + classes]",
    "end_to_end": "[N, objects, 6]",
    "maps": "[N, 4 * bins + classes, h, w] for each stride",
}
# The rows of published heads. No head of YOLOv5 or YOLOX has as many anchors, at any input size.
_END_TO_END_ROWS = 300


class Head(NamedTuple):
    """The head's output for one picture.

    Attributes:
        boxes: (4, anchors), or more rows for distributions of distances.
        classes: (classes, anchors).
        objectness: (anchors,), or None.
    """

    boxes: Array
    classes: Array
    objectness: Array | None = None


def layout_of(tensors: Sequence[Array], layout: Layout, num_classes: int | None) -> KnownLayout:
    """The layout of the outputs: the one that is given, or the only possible one.

    Raises:
        TensorError: the outputs do not have it, or the shapes allow several.
    """
    if layout == "auto":
        layout = _guess(tensors, num_classes)
    _check(tensors, layout, num_classes)
    return layout


def _guess(tensors: Sequence[Array], num_classes: int | None) -> KnownLayout:
    if tensors and all(tensor.ndim == 4 for tensor in tensors):
        return "maps"
    if len(tensors) != 1 or tensors[0].ndim != 3:
        raise shape_error(tensors, f"one of {', '.join(dict.fromkeys(_BY_NAME.values()))}")
    first, last = tensors[0].shape[1:]
    could_be = _possible(first, last, num_classes)
    if len(could_be) == 1:
        return could_be[0]
    if not could_be:
        wanted = "" if num_classes is None else f" with {num_classes} classes"
        raise shape_error(
            tensors,
            f"a layout of a YOLO head{wanted}",
            f"Set the parameter num_classes, or layout to one of {', '.join(_BY_NAME)}.",
        )
    raise shape_error(
        tensors,
        "a shape that only one layout has",
        "Set the parameter layout: "
        + ", ".join(f"{name} is {_BY_NAME[name]}" for name in could_be)
        + ". Of [N, anchors, 4 + classes], set num_classes.",
    )


def _possible(first: int, last: int, num_classes: int | None) -> list[KnownLayout]:
    """The layouts that a shape may be of."""
    if num_classes is None:
        if (first, last) == (_END_TO_END_ROWS, 6):
            return ["end_to_end"]
        could_be: list[KnownLayout] = ["end_to_end"] if last == 6 else []
        return ["anchor_free"] if 4 < first < last else [*could_be, "objectness", "yolox"]
    rows = num_classes + 4
    could_be = ["end_to_end"] if last == 6 and first <= _END_TO_END_ROWS else []
    if first == rows or (last == rows and not could_be):
        could_be.append("anchor_free")
    if last == rows + 1:
        could_be += ["objectness", "yolox"]
    return could_be


def _check(tensors: Sequence[Array], layout: KnownLayout, num_classes: int | None) -> None:
    if layout == "maps":
        fits = bool(tensors) and all(tensor.ndim == 4 for tensor in tensors)
        fits = fits and len({tensor.shape[:2] for tensor in tensors}) == 1
    else:
        fits = len(tensors) == 1 and tensors[0].ndim == 3 and _fits(tensors[0], layout, num_classes)
    if not fits:
        count = "" if num_classes is None else f" with {num_classes} classes"
        raise shape_error(
            tensors, f"{_BY_NAME[layout]}{count}", "Or set another layout, or num_classes."
        )


def _fits(tensor: Array, layout: KnownLayout, num_classes: int | None) -> bool:
    first, last = (int(side) for side in tensor.shape[1:])
    if layout == "end_to_end":
        return last == 6
    if layout == "anchor_free":
        if num_classes is None:  # with more rows than anchors it is likely the other way around
            return first > 4 and not 0 < last <= first
        return 4 + num_classes in (first, last)
    return last > 5 if num_classes is None else last == 5 + num_classes


def rows_of(tensor: Array, rows: int | None) -> Array:
    """The view (N, rows, anchors) of (N, rows, anchors) or (N, anchors, rows); None: the first."""
    if rows is None or tensor.shape[1] == rows:
        return tensor
    return tensor.transpose(0, 2, 1)


def split_anchor_free(tensor: Array, num_classes: int | None) -> list[Head]:
    """The heads of YOLOv8, v9, v11, v12 and 26: boxes, then classes."""
    rows = rows_of(tensor, None if num_classes is None else 4 + num_classes)
    return [Head(picture[:4], picture[4:]) for picture in rows]


def split_objectness(tensor: Array) -> list[Head]:
    """The heads of YOLOv5, v6, v7 and YOLOX: boxes, objectness, classes of each anchor."""
    rows = tensor.transpose(0, 2, 1)
    return [Head(picture[:4], picture[5:], picture[4]) for picture in rows]


def split_maps(maps: Sequence[Array], bins: int) -> list[Head]:
    """The maps of all strides as one row of anchors: distances, then classes."""
    flat = [tensor.reshape(*tensor.shape[:2], -1) for tensor in maps]
    rows = np.concatenate(flat, axis=2)
    return [Head(picture[: 4 * bins], picture[4 * bins :]) for picture in rows]
