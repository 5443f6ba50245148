"""Preprocessing: pictures are resized and normalised into reused memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from backends.contract import Array, Dim, Specs, TensorSpec
from deploy.runtime.vision.batching import padded_batch
from deploy.runtime.vision.geometry import Fit, Size, fit, scaled_size, tensor_size
from deploy.runtime.vision.image import Decoded, Picture, decode
from deploy.runtime.vision.input_values import input_values
from deploy.runtime.vision.placement import Placement
from deploy.runtime.vision.pre import Pre
from deploy.runtime.vision.resizing import resized_planes, size_of


class Preprocessor:
    """A picture to its part of the input tensor: resized, padded, normalised.

    Args:
        pre: the parameters.
        dtype: ``uint8`` for pixels as they are; every other input is computed in float32.
    """

    def __init__(self, pre: Pre, dtype: str = "float32") -> None:
        self._pre = pre
        self.dtype = np.dtype(np.uint8 if dtype == "uint8" else np.float32)
        gain = 1 / np.array(pre.std, np.float32)
        self._gain = gain
        self._offset = -np.array(pre.mean, np.float32) * gain
        self._order = (2, 1, 0) if pre.order == "bgr" else tuple(range(pre.channels))
        per_channel = isinstance(pre.pad, tuple)
        # a number is written in half the time of an array
        self._pad = np.array(pre.pad, self.dtype).reshape(-1, 1, 1) if per_channel else pre.pad
        self._axes = (0, 3, 1, 2) if pre.layout == "nhwc" else (0, 1, 2, 3)

    def __call__(
        self, picture: Decoded, into: Array | None = None, size: Size | None = None
    ) -> tuple[Array, Placement]:
        """Resize and normalise a picture.

        Args:
            picture: in RGB.
            into: memory for the result; by default it is allocated.
            size: of the tensor; by default the largest.

        Returns:
            The tensor of one picture, (1, channels, height, width) or (1, height, width, channels),
            and where the picture lies in it.
        """
        pre, source = self._pre, size_of(picture)
        target = size or Size(pre.width, pre.height)
        placed = fit(pre, scaled_size(pre, source), target)
        if into is None:
            into = np.empty(pre.shape(1, target.height, target.width), self.dtype)
        self._write(picture, placed, into.transpose(self._axes)[0])
        return into, placed.placement(source)

    def decode(self, picture: Picture) -> Decoded:
        """A picture in RGB, decoded no larger than it has to be where the parameters say so.

        Raises:
            ImageError: not a picture.
        """
        if not self._pre.scaled_decoding or self._pre.interpolation == "nearest":
            return decode(picture)
        return decode(picture, lambda whole: scaled_size(self._pre, whole))

    def scaled_size(self, picture: Decoded) -> Size:
        """The size of a picture after scaling."""
        return scaled_size(self._pre, size_of(picture))

    def _write(self, picture: Decoded, placed: Fit, target: Array) -> None:
        """Write a picture and what is around it into a tensor (channels, height, width)."""
        left, top, right, bottom = window = placed.in_tensor
        target[:, bottom:] = self._pad
        target[:, :top] = self._pad
        target[:, top:bottom, right:] = self._pad
        target[:, top:bottom, :left] = self._pad
        in_picture = window.shifted(-placed.left, -placed.top)
        planes = resized_planes(self._pre, picture, placed.scaled, in_picture)
        for channel, source in enumerate(self._order):
            self._normalise(channel, planes[source], target[channel, top:bottom, left:right])

    def _normalise(self, channel: int, plane: Array, target: Array) -> None:
        if self.dtype == np.uint8:
            target[...] = plane
            return
        np.multiply(plane, self._gain[channel], out=target)
        if self._offset[channel]:
            target += self._offset[channel]


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
    """Writes pictures into batches; several threads may call it.

    Allocating a tensor costs more than writing it, since its pages are mapped one by one. So
    released tensors are written again, and there are never more than were in use at once. Only
    tensors whose size follows the pictures are allocated for each batch.
    """

    def __init__(self, pre: Pre, inputs: Specs) -> None:
        self._pre = pre
        self._spec = _picture_spec(pre, inputs)
        self._others = tuple(spec for spec in inputs if spec.name in pre.values)
        self._write = Preprocessor(pre, self._spec.dtype)
        self._free: defaultdict[int, list[Array]] = defaultdict(list)

    def __call__(self, pictures: Sequence[Picture]) -> Prepared:
        """Write the pictures as one batch; one that is too small repeats its last picture.

        Raises:
            ImageError: not a picture.
        """
        decoded = list(map(self.decode, pictures))
        size = self._tensor_size(decoded)
        tensor = self._allocate(padded_batch((self._spec,), len(decoded)), size)
        placements = [
            self._write(picture, tensor[index : index + 1], size)[1]
            for index, picture in enumerate(decoded)
        ]
        tensor[len(decoded) :] = tensor[len(decoded) - 1]
        inputs = {self._pre.input: tensor.astype(self._spec.dtype, copy=False)}
        for spec in self._others:
            values = self._pre.values[spec.name]
            inputs[spec.name] = input_values(spec, values, placements, len(tensor))
        return Prepared(inputs, placements, tensor)

    def decode(self, picture: Picture) -> Decoded:
        """A picture as ``Preprocessor.decode`` gives it."""
        return self._write.decode(picture)

    def _tensor_size(self, pictures: Sequence[Decoded]) -> Size:
        if not self._pre.multiple:
            return Size(self._pre.width, self._pre.height)
        scaled = [self._write.scaled_size(picture) for picture in pictures]
        return tensor_size(self._pre, scaled, *_sides(self._pre, self._spec))

    def _allocate(self, batch: int, size: Size) -> Array:
        try:
            return self._free[batch].pop()
        except IndexError:
            return np.empty(self._pre.shape(batch, size.height, size.width), self._write.dtype)

    def release(self, prepared: Prepared) -> None:
        """Let the memory of these inputs be written again."""
        if not self._pre.multiple:
            self._free[len(prepared.tensor)].append(prepared.tensor)


def _picture_spec(pre: Pre, inputs: Specs) -> TensorSpec:
    return next(spec for spec in inputs if spec.name == pre.input)


def _sides(pre: Pre, spec: TensorSpec) -> tuple[Dim, Dim]:
    """Height and width of the input."""
    first = 1 if pre.layout == "nhwc" else 2
    return spec.dims[first], spec.dims[first + 1]
