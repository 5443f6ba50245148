"""Preprocessing: letterbox resize and normalisation of pictures into reused memory."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from backends.contract import Array, Specs
from deploy.runtime.vision.batching import padded_batch
from deploy.runtime.vision.image import Decoded, Picture, Placement, Pre, decode


class Letterbox:
    """Keep-ratio resize into the top-left corner, padding right and below, normalisation."""

    def __init__(self, pre: Pre) -> None:
        self._pre = pre
        gain = 1 / np.array(pre.std, np.float32)
        self._gain = gain
        self._offset = -np.array(pre.mean, np.float32) * gain
        self._order = (0, 1, 2) if pre.order == "rgb" else (2, 1, 0)
        if has_opencv():
            _opencv()  # imported now, and not at the first picture that it enlarges

    def __call__(self, picture: Decoded, into: Array | None = None) -> tuple[Array, Placement]:
        """Letterbox a picture.

        Args:
            picture: in RGB.
            into: memory for the result; by default it is allocated.

        Returns:
            The tensor (1, 3, height, width) float32, and where the picture lies in it.
        """
        source_width, source_height = _size(picture)
        width, height = self._scaled_size(source_width, source_height)
        tensor = self._padded(height, width, into)
        planes = _planes(picture, width, height)
        for channel, source in enumerate(self._order):
            target = tensor[0, channel, :height, :width]
            np.multiply(planes[source], self._gain[channel], out=target)
            if self._offset[channel]:
                target += self._offset[channel]
        scales = width / source_width, height / source_height
        return tensor, Placement(*scales, source_height, source_width)

    def _scaled_size(self, width: int, height: int) -> tuple[int, int]:
        scale = min(self._pre.height / height, self._pre.width / width)
        scaled_width, scaled_height = (max(1, round(side * scale)) for side in (width, height))
        return min(scaled_width, self._pre.width), min(scaled_height, self._pre.height)

    def _padded(self, height: int, width: int, into: Array | None) -> Array:
        shape = (1, 3, self._pre.height, self._pre.width)
        tensor = np.empty(shape, np.float32) if into is None else into
        tensor[:, :, height:] = self._pre.pad
        tensor[:, :, :height, width:] = self._pre.pad
        return tensor


def _size(picture: Decoded) -> tuple[int, int]:
    """Width and height."""
    if isinstance(picture, Image.Image):
        return picture.size
    return picture.shape[1], picture.shape[0]


def _planes(picture: Decoded, width: int, height: int) -> list[Array]:
    """The three planes (height, width) uint8 of a picture, bilinear where the size differs."""
    source_width, source_height = _size(picture)
    if (source_width, source_height) == (width, height):
        return planes_of(picture)
    if source_width <= width and source_height <= height and has_opencv():
        return enlarged(picture, width, height)
    return planes_of(_image(picture).resize((width, height), Image.Resampling.BILINEAR))


def planes_of(picture: Decoded) -> list[Array]:
    """Red, green and blue (H, W) uint8."""
    if not isinstance(picture, Image.Image):
        return [picture[:, :, channel] for channel in range(3)]
    shape = picture.height, picture.width
    raw = [picture.tobytes("raw", band) for band in "RGB"]  # faster than split()
    return [np.frombuffer(plane, np.uint8).reshape(shape) for plane in raw]


def enlarged(picture: Decoded, width: int, height: int) -> list[Array]:
    """The planes of a picture enlarged by OpenCV, which differ from Pillow's by at most 1 of 255.

    OpenCV's bilinear filter is not antialiased, so it differs where a picture shrinks.
    """
    cv2 = _opencv()
    size = (width, height)
    return list(cv2.split(cv2.resize(np.asarray(picture), size, interpolation=cv2.INTER_LINEAR)))


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


class Prepared(NamedTuple):
    """A batch of pictures as a chain takes it.

    Attributes:
        inputs: of the chain.
        placements: where each picture lies in its tensor.
        tensor: the memory that the pictures were written into.
    """

    inputs: dict[str, Array]
    placements: list[Placement]
    tensor: Array


class Preparer:
    """Letterboxes pictures into batches; several threads may call it.

    Allocating a tensor costs more than writing it, since its pages are mapped one by one. So
    released tensors are written again, and there are never more than were in use at once.
    """

    def __init__(self, pre: Pre, inputs: Specs) -> None:
        self._name = pre.input
        self._dtype = inputs[0].dtype
        self._shape = (3, pre.height, pre.width)
        self._inputs = inputs
        self._letterbox = Letterbox(pre)
        self._free: defaultdict[int, list[Array]] = defaultdict(list)

    def __call__(self, pictures: Sequence[Picture]) -> Prepared:
        """Letterbox the pictures as one batch; one that is too small repeats its last picture.

        Raises:
            ImageError: not a picture.
        """
        decoded = [decode(picture) for picture in pictures]
        tensor = self._allocate(padded_batch(self._inputs, len(decoded)))
        placements = [
            self._letterbox(picture, tensor[index : index + 1])[1]
            for index, picture in enumerate(decoded)
        ]
        tensor[len(decoded) :] = tensor[len(decoded) - 1]
        inputs = {self._name: tensor.astype(self._dtype, copy=False)}
        return Prepared(inputs, placements, tensor)

    def _allocate(self, batch: int) -> Array:
        try:
            return self._free[batch].pop()
        except IndexError:
            return np.empty((batch, *self._shape), np.float32)

    def release(self, prepared: Prepared) -> None:
        """Let the memory of these inputs be written again."""
        self._free[len(prepared.tensor)].append(prepared.tensor)
