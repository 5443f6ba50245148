"""Pre-processing in words and numbers, from its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from backends.contract import Dim, Dynamic, Specs, TensorSpec
from deploy.handover.facts import PictureFacts
from deploy.runtime.vision.pre import Interpolation, Pre

_CHANNELS: Mapping[str, tuple[str, ...]] = {
    "rgb": ("red", "green", "blue"),
    "bgr": ("blue", "green", "red"),
    "grey": ("grey",),
}
_GREY = (
    "Make it grey before it is resized: (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16 "
    "(ITU-R 601)."
)
_WEIGHTS = (
    "It is antialiased: the weights widen where the picture shrinks. Along one side, of m pixels "
    "to n: r = m / n, s = max(r, 1). Pixel i is around c = (i + 0.5) * r, from the pixels j with "
    "max(0, floor(c - {support} * s + 0.5)) <= j < min(m, floor(c + {support} * s + 0.5)), with "
    "the weights f((j - c + 0.5) / s) divided by their sum, and {f}. First along the width, then "
    "along the height; after each of the two, round halves up to whole numbers and clip to 0 to "
    "255."
)
_SCALED_DECODING = (
    "Where this project's runtime reads a picture with at least four times the sides of the "
    "scaled one, it takes fewer pixels, which is faster and optional: the file of a JPEG is "
    "decoded at 1/2, 1/4 or 1/8 of its size by libjpeg, the least that has at least twice the "
    "scaled sides; any other picture is reduced by a whole factor, which leaves at least twice "
    "the scaled sides, to the means of blocks. The result is then resized as below, as if it were "
    "the picture. Pixels differ by few of 255."
)
_FILTERS: Mapping[Interpolation, str] = {
    "nearest": "Pixel i of n is pixel floor((i + 0.5) * m / n) of the picture's m, each way.",
    "bilinear": _WEIGHTS.format(support=1, f="f(x) = max(0, 1 - |x|)"),
    "bicubic": _WEIGHTS.format(
        support=2,
        f="f(x) = 1.5 |x|^3 - 2.5 x^2 + 1 for |x| < 1, -0.5 (|x|^3 - 5 x^2 + 8 |x| - 4) for "
        "|x| < 2, else 0",
    ),
    "lanczos": _WEIGHTS.format(
        support=3,
        f="f(x) = sinc(x) * sinc(x / 3) for |x| < 3, else 0; sinc(x) = sin(pi x) / (pi x)",
    ),
}


def picture_facts(pre: Pre, inputs: Specs) -> PictureFacts:
    """The facts of pre-processing.

    Args:
        pre: its parameters.
        inputs: of the chain.
    """
    spec = next(spec for spec in inputs if spec.name == pre.input)
    return PictureFacts(
        dtype=spec.dtype,
        channels=_CHANNELS[pre.order],
        parameters=pre,
        steps=tuple(_steps(pre, spec)),
        back=_back(),
    )


def _steps(pre: Pre, spec: TensorSpec) -> Iterator[str]:
    yield (
        "Decode the picture to red, green and blue of 8 bits. Apply the orientation of Exif, lay "
        "transparency over white, repeat grey in all channels, divide 16 bits by 257."
    )
    if pre.order == "grey":
        yield _GREY
    yield f"Take the scaled size: {_scaled(pre)}"
    if pre.scaled_decoding and pre.interpolation != "nearest":
        yield _SCALED_DECODING
    yield (
        f"Resize the picture to the scaled size, {pre.interpolation}; one that has this size stays "
        f"as it is. {_FILTERS[pre.interpolation]}"
    )
    yield f"Take the size of the tensor: {_tensor_size(pre, spec)}"
    yield f"Lay the picture into the tensor: {_offsets(pre)}"
    yield _values(pre, spec.dtype)
    yield (
        f"Set everything of the tensor outside of the picture to {_numbers(pre.pad)}, which is "
        "already in units of the tensor."
    )
    yield _layout(pre, spec)
    for name, values in pre.values.items():
        row = ", ".join(map(str, values))
        yield (
            f"Give the input '{name}' the row [{row}]: numbers, and those of the picture in "
            "pixels; scale_x is scaled_width / width, scale_y is scaled_height / height."
        )


def _scaled(pre: Pre) -> str:
    """``width`` and ``height`` are those of the picture."""
    if pre.resize == "stretch":
        return f"scaled_width = {pre.width}, scaled_height = {pre.height}."
    if pre.resize == "crop":
        height, width = pre.cover or (pre.height, pre.width)
        return (
            f"where width * {height} <= height * {width}, scaled_width = {width} and scaled_height "
            f"= floor({width} * height / width); else scaled_height = {height} and scaled_width = "
            f"floor({height} * width / height)."
        )
    return (
        f"s = min({pre.height} / height, {pre.width} / width), in double precision; scaled_width = "
        f"min({pre.width}, max(1, round(width * s))), scaled_height = min({pre.height}, max(1, "
        "round(height * s))). Halves round to even."
    )


def _tensor_size(pre: Pre, spec: TensorSpec) -> str:
    if not pre.multiple:
        return f"W = {pre.width}, H = {pre.height}."
    first = 1 if pre.layout == "nhwc" else 2
    height, width = spec.dims[first], spec.dims[first + 1]
    return (
        f"W = {_rounded_up('scaled_width', pre.multiple, width)}, "
        f"H = {_rounded_up('scaled_height', pre.multiple, height)}."
    )


def _rounded_up(side: str, multiple: int, dim: Dim) -> str:
    if not isinstance(dim, Dynamic):
        return str(dim)
    return f"min({dim.max}, max({dim.min}, {multiple} * ceil({side} / {multiple})))"


def _offsets(pre: Pre) -> str:
    if pre.resize == "letterbox" and pre.align == "corner":
        return "left = 0, top = 0: it begins at the first pixel."
    if pre.resize == "stretch":
        return "left = 0, top = 0: it fills the tensor."
    return (
        "left = floor((W - scaled_width) / 2), or where the picture is wider "
        "-round((scaled_width - W) / 2), halves to even; top likewise with H and scaled_height. "
        "Pixel (x, y) of the scaled picture is at (x + left, y + top); what lies outside is cut "
        "off."
    )


def _values(pre: Pre, dtype: str) -> str:
    order = ", ".join(_CHANNELS[pre.order])
    if dtype == "uint8":
        return f"The channels of the tensor are {order}, with the pixels as they are."
    return (
        f"The channels of the tensor are {order}. Each value is (pixel - mean) / std in float32, "
        f"pixels from 0 to 255, mean {_numbers(pre.mean)}, std {_numbers(pre.std)}."
    )


def _layout(pre: Pre, spec: TensorSpec) -> str:
    index = "[channel][y][x]" if pre.layout == "nchw" else "[y][x][channel]"
    return (
        f"The tensor '{spec.name}' is {spec.dtype}[picture]{index}: {pre.layout.upper()}, the last "
        "index varies fastest."
    )


def _numbers(value: float | tuple[float, ...]) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _back() -> tuple[str, ...]:
    return (
        "x_picture = (x_tensor - left) * width / scaled_width",
        "y_picture = (y_tensor - top) * height / scaled_height",
        "Coordinates are those of edges: the first pixel is from 0 to 1.",
    )
