"""The parameters of pre-processing, as a bundle's manifest has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

from backends.bounds import Between, Length, Name
from backends.contract import Dim, Dynamic, Specs, TensorSpec

Resize = Literal["letterbox", "stretch", "crop"]
Align = Literal["corner", "centre"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Order = Literal["rgb", "bgr", "grey"]
Layout = Literal["nchw", "nhwc"]
PictureValue = Literal[
    "height",
    "width",
    "scaled_height",
    "scaled_width",
    "tensor_height",
    "tensor_width",
    "scale_y",
    "scale_x",
]
"""A number of a picture that a model may take beside it."""
InputValues = Annotated[
    tuple[PictureValue | Annotated[float, Between(-1e9, 1e9)], ...], Length(1, 16)
]
"""The row of an input of a model: numbers, and names of those of the picture."""


_Side = Annotated[int, Between(1, 100_000)]
_PerChannel = Annotated[tuple[float, ...], Length(1, 3)]
_VALUE_DTYPES = ("float16", "float32", "float64", "int32", "int64")
_MOST_PIXELS = 1 << 28  # of the input picture


@dataclass(frozen=True)
class Pre:
    """How a picture becomes the input tensor: resized, then ``(pixel - mean) / std``.

    Attributes:
        input: the tensor's name.
        height: of the tensor, in pixels; the largest one, where ``multiple`` is set.
        width: likewise.
        mean: per channel, in the tensor's order, in units of pixels from 0 to 255.
        std: likewise.
        order: of the channels; ``grey`` is one channel (ITU-R 601 luma).
        pad: the value of the tensor outside of the picture, in units of the tensor: what a pixel
            is after mean and std. One number, or one per channel.
        resize: ``letterbox`` keeps the ratio of the sides and pads; ``stretch`` does not keep it;
            ``crop`` keeps it and takes the middle of the picture.
        align: where a letterboxed picture lies: at the ``corner`` at the top left, or in the
            ``centre``.
        cover: for ``crop``, the height and width that the whole picture is scaled to cover before
            its middle is taken; by default those of the tensor.
        multiple: for ``letterbox``, where height and width of the input vary: the tensor ends at
            the next multiple of this behind the picture. 0: it has always its largest size.
        interpolation: Pillow's filter, which is antialiased where a picture shrinks.
        layout: the order of the tensor's axes.
        values: further inputs of the model, with the numbers of the picture that each takes.
        scaled_decoding: whether a picture is decoded no larger than it has to be: the file of a
            JPEG at 1/2, 1/4 or 1/8 of its size, where that is at least twice the scaled picture;
            any other picture is reduced by a whole factor first, likewise. Pixels differ a little.
    """

    input: str
    height: int
    width: int
    mean: _PerChannel
    std: _PerChannel
    order: Order = "rgb"
    pad: float | _PerChannel = 0.0
    resize: Resize = "letterbox"
    align: Align = "corner"
    cover: tuple[_Side, _Side] | None = None
    multiple: Annotated[int, Between(0, 4096)] = 0
    interpolation: Interpolation = "bilinear"
    layout: Layout = "nchw"
    values: Annotated[Mapping[Name, InputValues], Length(0, 16)] = field(default_factory=dict)
    scaled_decoding: bool = False

    @property
    def channels(self) -> int:
        """How many the tensor has."""
        return 1 if self.order == "grey" else 3

    def shape(self, batch: int, height: int, width: int) -> tuple[int, int, int, int]:
        """The shape of a tensor of so many pictures of this size."""
        if self.layout == "nhwc":
            return batch, height, width, self.channels
        return batch, self.channels, height, width


class PreFault(NamedTuple):
    """What is wrong with pre-processing: a parameter, what it should be, and what it is."""

    key: str
    expected: str
    got: str


def pre_fault(pre: Pre, inputs: Specs) -> PreFault | None:
    """What of the parameters does not fit the inputs that a caller gives, or makes no sense.

    Args:
        pre: the parameters.
        inputs: of the chain, without its state.
    """
    specs = {spec.name: spec for spec in inputs}
    if pre.input not in specs or {pre.input, *pre.values} != specs.keys():
        expected = "the one input of the chain" + " but those of values" * bool(pre.values)
        return PreFault("input", expected, repr(pre.input[:200]))
    spec = specs[pre.input]
    if not _fits(pre, spec):
        return PreFault("", f"the size of {spec}", f"{pre.height} x {pre.width}")
    return _number_fault(pre) or _dtype_fault(pre, spec.dtype) or _value_fault(pre, specs)


def _fits(pre: Pre, spec: TensorSpec) -> bool:
    """Whether a tensor of the largest size fits; another rank is refused when a picture comes."""
    if len(spec.dims) != 4:
        return not pre.multiple
    channels = spec.typical[3 if pre.layout == "nhwc" else 1]
    shape = list(pre.shape(spec.typical[0], pre.height, pre.width))
    shape[3 if pre.layout == "nhwc" else 1] = channels
    return spec.accepts(tuple(shape))


def _number_fault(pre: Pre) -> PreFault | None:
    is_size = pre.height > 0 and pre.width > 0 and pre.height * pre.width <= _MOST_PIXELS
    pad = pre.pad if isinstance(pre.pad, tuple) else (pre.pad,)
    numbers = [*pre.mean, *pre.std, *pad]
    if not is_size or not all(map(math.isfinite, numbers)) or not all(pre.std):
        return PreFault("", "a size in pixels, and std other than 0", str(pre)[:200])
    for key, values in (("mean", pre.mean), ("std", pre.std), ("pad", pad)):
        if len(values) not in ((1, pre.channels) if key == "pad" else (pre.channels,)):
            expected = f"{pre.channels} number{'s' * (pre.channels > 1)} for {pre.order}"
            return PreFault(key, expected, str(len(values)))
    return None


def _dtype_fault(pre: Pre, dtype: str) -> PreFault | None:
    if dtype != "uint8":
        return None
    if any(pre.mean) or any(std != 1 for std in pre.std):
        got = f"mean {list(pre.mean)}, std {list(pre.std)}"
        return PreFault("std", "mean 0 and std 1 for an input of uint8, which holds pixels", got)
    pad = pre.pad if isinstance(pre.pad, tuple) else (pre.pad,)
    if not all(0 <= value <= 255 and value == int(value) for value in pad):
        return PreFault("pad", "a pixel from 0 to 255 for an input of uint8", str(pre.pad))
    return None


def is_row_each(spec: TensorSpec, count: int) -> bool:
    """Whether an input of ``values`` has a row of so many numbers for each picture of a batch."""
    return len(spec.dims) > 1 and math.prod(_fixed(spec.dims[1:])) == count


def _value_fault(pre: Pre, specs: Mapping[str, TensorSpec]) -> PreFault | None:
    batch = specs[pre.input].dims[:1]
    for name, values in pre.values.items():
        spec, key, count = specs[name], f"values.{name}", len(values)
        if spec.dtype not in _VALUE_DTYPES:
            return PreFault(key, f"an input of {', '.join(_VALUE_DTYPES)}", spec.dtype)
        fits = is_row_each(spec, count) and (spec.dims[:1] == batch or spec.dims[0] == 1)
        if not fits and math.prod(_fixed(spec.dims)) != count:
            return PreFault(key, f"as many values as {spec} has for one picture", str(count))
    return None


def _fixed(dims: tuple[Dim, ...]) -> list[int]:
    """The sizes; one that varies as 0."""
    return [0 if isinstance(dim, Dynamic) else dim for dim in dims]
