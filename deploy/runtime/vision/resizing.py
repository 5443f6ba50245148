"""Pictures to planes of another size, by Pillow's filters or by OpenCV where it gives the same."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image

from backends.contract import Array
from deploy.runtime.vision.geometry import Size, Window
from deploy.runtime.vision.image import Decoded, Reduced
from deploy.runtime.vision.pre import Interpolation, Pre

_FILTERS: Mapping[Interpolation, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

_Box = tuple[float, float, float, float]  # left, top, right, bottom

_REDUCING_GAP = 2.0  # times the scaled picture, to which whole factors may reduce one before
_MOST_CROPPED = 4  # times the window: of longer pictures, what is cropped away is not scaled


def size_of(picture: Decoded) -> Size:
    """Width and height."""
    if isinstance(picture, Image.Image | Reduced):
        return Size(*picture.size)
    return Size(picture.shape[1], picture.shape[0])


def resized_planes(pre: Pre, picture: Decoded, scaled: Size, window: Window) -> list[Array]:
    """The planes of a part of a picture that is scaled.

    Args:
        pre: names the channels and the filter.
        picture: in RGB.
        scaled: the size of the whole picture after scaling.
        window: the part that is wanted, in pixels of the scaled picture.

    Returns:
        Red, green and blue, or grey, of the window's size, uint8.
    """
    source = size_of(picture)
    if source == scaled and not isinstance(picture, Reduced):
        return _cut(_planes(pre, picture), scaled, window)
    grows = source.width <= scaled.width and source.height <= scaled.height
    is_plain = pre.interpolation == "bilinear" and pre.order != "grey" and window.size == scaled
    if is_plain and grows and has_opencv() and not isinstance(picture, Reduced):
        return enlarged(picture, *scaled)
    image, filled = _image(picture), _filled(picture)
    if pre.order == "grey":
        image = image.convert("L")
    method, gap = _FILTERS[pre.interpolation], _REDUCING_GAP if pre.scaled_decoding else None
    if scaled.width * scaled.height <= _MOST_CROPPED * window.size.width * window.size.height:
        resized = image.resize(scaled, method, filled, gap)
        return _cut(planes_of(resized), scaled, window)
    return planes_of(image.resize(window.size, method, _box(filled, scaled, window), gap))


def _cut(planes: list[Array], scaled: Size, window: Window) -> list[Array]:
    if window.size == scaled:
        return planes
    rows, columns = slice(window.top, window.bottom), slice(window.left, window.right)
    return [plane[rows, columns] for plane in planes]


def _box(filled: _Box, scaled: Size, window: Window) -> _Box:
    """A window of the scaled picture in pixels of the image that holds the picture.

    Pillow has boxes in float32, so that scaling this part alone gives pixels that may differ by one
    of 255 from those of the whole.
    """
    left, top, last, end = filled
    x, y = (last - left) / scaled.width, (end - top) / scaled.height
    right = last if window.right == scaled.width else left + window.right * x
    bottom = end if window.bottom == scaled.height else top + window.bottom * y
    return left + window.left * x, top + window.top * y, right, bottom


def _planes(pre: Pre, picture: Image.Image | Array) -> list[Array]:
    if pre.order == "grey":
        return planes_of(_image(picture).convert("L"))
    return planes_of(picture)


def planes_of(picture: Image.Image | Array) -> list[Array]:
    """Red, green and blue (H, W) uint8; or the one plane of a grey picture."""
    if not isinstance(picture, Image.Image):
        return [picture[:, :, channel] for channel in range(3)]
    shape = picture.height, picture.width
    raw = [picture.tobytes("raw", band) for band in picture.getbands()]  # faster than split()
    return [np.frombuffer(plane, np.uint8).reshape(shape) for plane in raw]


def enlarged(picture: Image.Image | Array, width: int, height: int) -> list[Array]:
    """The planes of a picture enlarged by OpenCV, which differ from Pillow's by at most 1 of 255.

    OpenCV's bilinear filter is not antialiased, so it differs where a picture shrinks.
    """
    cv2 = _opencv()
    size = (width, height)
    return list(cv2.split(cv2.resize(np.asarray(picture), size, interpolation=cv2.INTER_LINEAR)))


@cache
def _opencv() -> Any:
    """OpenCV, imported at the first picture that is enlarged.

    It has one thread, since the engines use the cores; unless this process uses it too.
    """
    is_used = "cv2" in sys.modules
    import cv2  # an optional library

    if not is_used:
        cv2.setNumThreads(1)
    return cv2


@cache
def has_opencv() -> bool:
    """Whether OpenCV is installed; it is not imported."""
    return find_spec("cv2") is not None


def _image(picture: Decoded) -> Image.Image:
    if isinstance(picture, Reduced):
        return picture.image
    return picture if isinstance(picture, Image.Image) else Image.fromarray(picture)


def _filled(picture: Decoded) -> _Box:
    """The part of its image that a picture fills."""
    if isinstance(picture, Reduced):
        return picture.box
    width, height = size_of(picture)
    return 0.0, 0.0, float(width), float(height)
