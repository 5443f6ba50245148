"""A picture into the chain's input: letterbox, normalisation, and reused memory."""

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
from deploy.runtime.vision.batching import least_batch
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
            _opencv()  # now, and not at the first picture that it enlarges

    def __call__(self, picture: Decoded, into: Array | None = None) -> tuple[Array, Placement]:
        """A picture in RGB to a tensor (1, 3, height, width) float32, in memory that is given."""
        wide, tall = _size(picture)
        width, height = self._fitted(wide, tall)
        tensor = self._blank(height, width, into)
        planes = _planes(picture, width, height)
        for channel, source in enumerate(self._order):
            inside = tensor[0, channel, :height, :width]
            np.multiply(planes[source], self._gain[channel], out=inside)
            if self._offset[channel]:
                inside += self._offset[channel]
        return tensor, Placement(width / wide, height / tall, tall, wide)

    def _fitted(self, wide: int, tall: int) -> tuple[int, int]:
        scale = min(self._pre.height / tall, self._pre.width / wide)
        width, height = (max(1, round(side * scale)) for side in (wide, tall))
        return min(width, self._pre.width), min(height, self._pre.height)

    def _blank(self, height: int, width: int, into: Array | None) -> Array:
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
    wide, tall = _size(picture)
    if (wide, tall) == (width, height):
        return planes_of(picture)
    if wide <= width and tall <= height and has_opencv():
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
    """The planes of a larger picture by OpenCV, where they are Pillow's within 1 of 255.

    Its bilinear filter does not smooth where a picture shrinks, so that it is no match there.
    """
    cv2 = _opencv()
    size = (width, height)
    return list(cv2.split(cv2.resize(np.asarray(picture), size, interpolation=cv2.INTER_LINEAR)))


@cache
def _opencv() -> Any:
    """OpenCV; with one thread, since the engines have the cores, unless others use it here too."""
    others = "cv2" in sys.modules
    import cv2  # is not everywhere

    if not others:
        cv2.setNumThreads(1)
    return cv2


@cache
def has_opencv() -> bool:
    """Whether OpenCV is installed; it is not imported."""
    return find_spec("cv2") is not None


def _image(picture: Decoded) -> Image.Image:
    return picture if isinstance(picture, Image.Image) else Image.fromarray(picture)


class Prepared(NamedTuple):
    """Pictures as a chain takes them.

    Attributes:
        inputs: of the chain.
        placements: where each picture lies in them.
        tensor: the memory that they were written into.
    """

    inputs: dict[str, Array]
    placements: list[Placement]
    tensor: Array


class Preparer:
    """Letterboxes pictures; several threads may call it.

    Fresh memory costs more than writing it does, page by page. So a tensor that is given back is
    written again, and there are never more than were under way at once.
    """

    def __init__(self, pre: Pre, inputs: Specs) -> None:
        self._name = pre.input
        self._dtype = inputs[0].dtype
        self._shape = (3, pre.height, pre.width)
        self._least = least_batch(inputs)
        self._letterbox = Letterbox(pre)
        self._free: defaultdict[int, list[Array]] = defaultdict(list)

    def __call__(self, pictures: Sequence[Picture]) -> Prepared:
        """The pictures as one batch; one that is too small repeats its last picture.

        Raises:
            ImageError: not a picture.
        """
        decoded = [decode(picture) for picture in pictures]
        tensor = self._taken(max(len(decoded), self._least))
        placements = [
            self._letterbox(picture, tensor[place : place + 1])[1]
            for place, picture in enumerate(decoded)
        ]
        tensor[len(decoded) :] = tensor[len(decoded) - 1]
        inputs = {self._name: tensor.astype(self._dtype, copy=False)}
        return Prepared(inputs, placements, tensor)

    def _taken(self, batch: int) -> Array:
        try:
            return self._free[batch].pop()
        except IndexError:
            return np.empty((batch, *self._shape), np.float32)

    def give_back(self, prepared: Prepared) -> None:
        """Nobody reads these inputs any more."""
        self._free[len(prepared.tensor)].append(prepared.tensor)
