"""From the size of a picture to its size and its place in the tensor; numbers alone, no pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from backends.contract import Dim, Dynamic
from deploy.runtime.vision.placement import Placement
from deploy.runtime.vision.pre import Pre


class Size(NamedTuple):
    """Of a picture or a tensor, in pixels."""

    width: int
    height: int


class Window(NamedTuple):
    """A rectangle of whole pixels: columns from ``left`` up to ``right``, rows likewise."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> Size:
        """Its width and height."""
        return Size(self.right - self.left, self.bottom - self.top)

    def shifted(self, right: int, down: int) -> Window:
        """The same, so many pixels further to the right and down."""
        return Window(self.left + right, self.top + down, self.right + right, self.bottom + down)


class Fit(NamedTuple):
    """How a picture is scaled, and where it lies in the tensor.

    Attributes:
        scaled: the size of the whole picture after scaling.
        left: where its left edge lies in the tensor; negative where it is cropped.
        top: where its top edge lies.
        tensor: the size of the tensor.
    """

    scaled: Size
    left: int
    top: int
    tensor: Size

    @property
    def in_tensor(self) -> Window:
        """The pixels of the tensor that hold the picture."""
        return Window(
            max(0, self.left),
            max(0, self.top),
            min(self.tensor.width, self.left + self.scaled.width),
            min(self.tensor.height, self.top + self.scaled.height),
        )

    def placement(self, picture: Size) -> Placement:
        """The way back to a picture of this size."""
        return Placement(
            self.scaled.width / picture.width,
            self.scaled.height / picture.height,
            picture.height,
            picture.width,
            float(self.left),
            float(self.top),
            self.tensor.height,
            self.tensor.width,
        )


def fit(pre: Pre, scaled: Size, tensor: Size) -> Fit:
    """Where a picture of a size that ``scaled_size`` gives lies in a tensor."""
    if pre.resize == "letterbox" and pre.align == "corner":
        return Fit(scaled, 0, 0, tensor)
    left = _offset(tensor.width - scaled.width)
    return Fit(scaled, left, _offset(tensor.height - scaled.height), tensor)


def _offset(room: int) -> int:
    """Half of what is left beside the picture, or minus half of what is cropped of it.

    Rounded as in torchvision's CenterCrop.
    """
    return room // 2 if room >= 0 else -round(-room / 2)


def scaled_size(pre: Pre, picture: Size) -> Size:
    """The size of the whole picture after scaling, at least one pixel each way."""
    if pre.resize == "stretch":
        return Size(pre.width, pre.height)
    if pre.resize == "crop":
        return _covering(picture, *(pre.cover or (pre.height, pre.width)))
    scale = min(pre.height / picture.height, pre.width / picture.width)
    width, height = (max(1, round(side * scale)) for side in picture)
    return Size(min(width, pre.width), min(height, pre.height))


def _covering(picture: Size, height: int, width: int) -> Size:
    """The smallest size of the picture's ratio that covers height and width.

    The longer side is rounded down, as torchvision's Resize does.
    """
    if picture.width * height <= picture.height * width:
        return Size(width, int(width * picture.height / picture.width))
    return Size(int(height * picture.width / picture.height), height)


def tensor_size(pre: Pre, scaled: Sequence[Size], height: Dim, width: Dim) -> Size:
    """The size of a tensor that holds pictures of these sizes.

    Args:
        pre: the parameters.
        scaled: the size of each picture of a batch after scaling.
        height: of the input.
        width: of the input.
    """
    if not pre.multiple:
        return Size(pre.width, pre.height)
    return Size(
        _rounded_up(max(size.width for size in scaled), pre.multiple, width),
        _rounded_up(max(size.height for size in scaled), pre.multiple, height),
    )


def _rounded_up(side: int, multiple: int, dim: Dim) -> int:
    if not isinstance(dim, Dynamic):
        return dim
    return min(max(-(-side // multiple) * multiple, dim.min), dim.max)
