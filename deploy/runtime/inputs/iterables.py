"""The pictures of an iterable, or of what a text or path stands for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from PIL import Image

from deploy.runtime.inputs.reading import Input, read_pictures
from deploy.runtime.inputs.sources import find_sources
from deploy.runtime.vision.image import ImageError, Picture, read_encoded, refuse_other_text

_PATTERN = re.compile(r"[\w./\\*?\[\]~-]*[*?\]]|camera:\d+")  # without a suffix at its end


def read_inputs(
    words: str | Path | Iterable[str | Path], recursive: bool = False, every: int = 1
) -> Iterator[Input]:
    """The pictures in files, folders, patterns, videos and cameras, with where they come from.

    Args:
        words: a path, a folder, a pattern such as ``photos/*.jpg``, a video file or ``camera:0``;
            or several of them.
        recursive: whether the folders in a folder belong to it.
        every: of a video or camera each frame of this number, the first one included.

    Raises:
        InputError: no picture in a folder, or matched by a pattern.
        VideoError: a video is damaged, behind its last good frame; or there is no such camera.

    Examples:
        >>> for item in read_inputs("photo.jpg"):
        ...     print(item)
        photo.jpg
    """
    words = [words] if isinstance(words, str | Path) else words
    sources = find_sources(words, recursive).found
    return (item for source in sources for item in read_pictures(source, every))


def each_picture(pictures: Iterable[Picture] | str | Path) -> Iterator[Picture]:
    """Each picture as another thread may decode it: an opened file is read in this one.

    Raises:
        ImageError: a single picture of another kind, or no pictures at all.
    """
    if isinstance(pictures, str) and not _PATTERN.fullmatch(pictures):
        refuse_other_text(pictures)
    if isinstance(pictures, str | Path):
        return (item.picture for item in read_inputs(pictures))
    is_one = isinstance(pictures, bytes | bytearray | memoryview | Image.Image | Mapping)
    is_array = isinstance(pictures, np.ndarray) and pictures.ndim < 4
    if is_one or is_array or hasattr(pictures, "read"):
        raise _no_pictures(pictures, "Pass a list with it.")
    try:
        items = iter(pictures)
    except TypeError:
        raise _no_pictures(pictures, "") from None
    return map(_held, items)


def _held(picture: Picture) -> Picture:
    if isinstance(picture, np.ndarray | Image.Image) or not hasattr(picture, "read"):
        return picture
    return read_encoded(cast(BinaryIO, picture))


def _no_pictures(got: object, do: str) -> ImageError:
    return ImageError(
        "pictures of a stream",
        expected="an iterable of pictures, or a folder, pattern or video",
        got=f"one {type(got).__name__}" if do else type(got).__name__,
        do=do,
    )
