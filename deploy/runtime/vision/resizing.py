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
from deploy.runtime.vision.image import Decoded
from deploy.runtime.vision.pre import Interpolation, Pre

_FILTERS: Mapping[Interpolation, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

_MOST_CROPPED = 4  # times the window: of longer pictures, what is cropped away is not scaled


def size_of(picture: Decoded) -> Size:
    """Width and height."""
    if isinstance(picture, Image.Image):
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
    if source == scaled:
        return _cut(_planes(pre, picture), scaled, window)
    grows = source.width <= scaled.width and source.height <= scaled.height
    is_plain = pre.interpolation == "bilinear" and pre.order != "grey" and window.size == scaled
    if is_plain and grows and has_opencv():
        return enlarged(picture, *scaled)
    image = _image(picture)
    if pre.order == "grey":
        image = image.convert("L")
    method = _FILTERS[pre.interpolation]
    if scaled.width * scaled.height <= _MOST_CROPPED * window.size.width * window.size.height:
        return _cut(planes_of(image.resize(scaled, method)), scaled, window)
    return planes_of(image.resize(window.size, method, _box(source, scaled, window)))


def _cut(planes: list[Array], scaled: Size, window: Window) -> list[Array]:
    if window.size == scaled:
        return planes
    rows, columns = slice(window.top, window.bottom), slice(window.left, window.right)
    return [plane[rows, columns] for plane in planes]


def _box(source: Size, scaled: Size, window: Window) -> tuple[float, float, float, float]:
    """A window of the scaled picture in pixels of the picture itself.

    Pillow has boxes in float32, so that scaling this part alone gives pixels that may differ by one
    of 255 from those of the whole.
    """
    x, y = source.width / scaled.width, source.height / scaled.height
    right = float(source.width) if window.right == scaled.width else window.right * x
    bottom = float(source.height) if window.bottom == scaled.height else window.bottom * y
    return window.left * x, window.top * y, right, bottom


def _planes(pre: Pre, picture: Decoded) -> list[Array]:
    if pre.order == "grey":
        return planes_of(_image(picture).convert("L"))
    return planes_of(picture)


def planes_of(picture: Decoded) -> list[Array]:
    """Red, green and blue (H, W) uint8; or the one plane of a grey picture."""
    if not isinstance(picture, Image.Image):
        return [picture[:, :, channel] for channel in range(3)]
    shape = picture.height, picture.width
    raw = [picture.tobytes("raw", band) for band in picture.getbands()]  # faster than split()
    return [np.frombuffer(plane, np.uint8).reshape(shape) for plane in raw]


def enlarged(picture: Decoded, width: int, height: int) -> list[Array]:
    """The planes of a picture enlarged by OpenCV, which differ from Pillow's by at most 1 of 255.

    OpenCV's bilinear filter is not antialiased, so it differs where a picture shrinks.
    """
    cv2 = _opencv()
    size = (width, height)
    return list(cv2.split(cv2.resize(np.asarray(picture), size, interpolation=cv2.INTER_LINEAR)))


def prepare_opencv() -> None:
    """Import OpenCV, where it is installed."""
    if has_opencv():
        _opencv()


@cache
def _opencv() -> Any:
    """OpenCV, with one thread, since the engines use the cores; unless this process uses it too."""
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
    return picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
