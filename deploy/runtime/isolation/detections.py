"""Detections as named arrays and back, between processes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backends.contract import Array, Tensors
from deploy.runtime.vision.detections import Detections
from deploy.runtime.vision.masks import Masks


def pack_detections(pictures: Sequence[Detections]) -> dict[str, Array]:
    """The detections of some pictures as arrays, whose names begin with the picture's number."""
    return {
        f"{number}.{name}": array
        for number, detections in enumerate(pictures)
        for name, array in _arrays(detections).items()
    }


def _arrays(detections: Detections) -> dict[str, Array]:
    arrays: dict[str, Array] = {
        "boxes": detections.boxes,
        "scores": detections.scores,
        "labels": detections.labels,
    }
    masks = detections.masks
    if masks is None:
        return arrays
    flat = [crop.ravel() for crop in masks.crops]
    return arrays | {
        "size": np.array((masks.height, masks.width), np.int64),
        "corners": masks.corners,
        "crop_shapes": np.array([crop.shape for crop in masks.crops], np.int64).reshape(-1, 2),
        "crops": np.concatenate([np.empty(0, np.bool_), *flat]),
    }


def unpack_detections(arrays: Tensors, count: int) -> list[Detections]:
    """The detections of ``count`` pictures, from arrays that nobody else holds.

    Raises:
        ValueError: the arrays do not fit together.
        KeyError: an array is missing.
    """
    return [_detections(arrays, f"{number}.") for number in range(count)]


def _detections(arrays: Tensors, prefix: str) -> Detections:
    boxes, scores, labels = (arrays[prefix + name] for name in ("boxes", "scores", "labels"))
    masks = _masks(arrays, prefix) if f"{prefix}size" in arrays else None
    return Detections(boxes, scores, labels, masks)


def _masks(arrays: Tensors, prefix: str) -> Masks:
    height, width = (int(side) for side in arrays[f"{prefix}size"])
    shapes, corners = arrays[f"{prefix}crop_shapes"], arrays[f"{prefix}corners"]
    ends = np.cumsum(shapes.prod(axis=1))
    is_inside = (corners >= 0).all() and (corners + shapes[:, ::-1] <= (width, height)).all()
    pixels = arrays[f"{prefix}crops"]
    if len(shapes) != len(corners) or (shapes < 0).any() or not is_inside:
        raise ValueError("masks that do not lie in their picture")
    if pixels.shape != (ends[-1] if len(ends) else 0,):
        raise ValueError("masks of another size than their pixels")
    flat = np.split(pixels, ends[:-1])[: len(shapes)]
    crops = [crop.reshape(shape) for crop, shape in zip(flat, shapes, strict=True)]
    return Masks(height, width, corners, crops)
