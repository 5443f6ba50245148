"""``model.pre`` of a recipe -> the pre-processing of a manifest, with what the inputs decide."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar, get_args

from backends.codec import FormatError, read_value, to_json
from backends.contract import Dim, Dynamic, TensorSpec
from deploy.recipe.dynamic_shapes import dynamic_axes, varying_inputs
from deploy.recipe.schema import ModelRecipe, PreRecipe, RecipeError
from deploy.recipe.state import state_pairs
from deploy.runtime.vision.pre import (
    Align,
    Interpolation,
    Layout,
    Order,
    PictureValue,
    Pre,
    Resize,
    pre_fault,
)

T = TypeVar("T")

_DTYPES = ("float16", "float32", "float64", "uint8")
_SHAPES = "[batch, 3, height, width] or [batch, height, width, 3], or with 1 channel"
_ORDERS = {1: ("grey",), 3: ("rgb", "bgr")}


class PictureInput(NamedTuple):
    """The input of a model that takes the picture."""

    spec: TensorSpec
    layout: Layout
    channels: int
    height: Dim
    width: Dim


def preprocessing(model: ModelRecipe, pre: PreRecipe) -> Pre:
    """The pre-processing of the manifest; what the recipe leaves open follows from the input.

    Raises:
        RecipeError: a name, a unit or a value is wrong; the text says what to write.
    """
    picture = picture_input(model, pre)
    spec, size = picture.spec, (_largest(picture.height), _largest(picture.width))
    order = _order(pre, picture.channels)
    mean, std = _normalisation(pre, picture)
    made = Pre(
        input=spec.name,
        height=size[0],
        width=size[1],
        mean=mean,
        std=std,
        order=order,
        pad=_pad(pre, mean, std),
        resize=_choice("resize", pre.resize, Resize),
        align=_choice("align", pre.align, Align),
        cover=_cover(pre, *size),
        multiple=_multiple(pre, picture),
        interpolation=_choice("interpolation", pre.interpolation, Interpolation),
        layout=picture.layout,
        values=_values(pre),
        scaled_decoding=pre.scaled_decoding,
    )
    _check(made, model)
    return made


def picture_input(model: ModelRecipe, pre: PreRecipe) -> PictureInput:
    """The input that takes the picture: the one that the recipe names, or the only possible one.

    Raises:
        RecipeError: there is none, or several.
    """
    specs = _specs(model)
    candidates = [found for spec in specs.values() if (found := _as_picture(spec, pre))]
    if pre.input is None and len(candidates) == 1:
        return candidates[0]
    named = [found for found in candidates if found.spec.name == pre.input]
    if named:
        return named[0]
    names = ", ".join(found.spec.name for found in candidates)
    if pre.input is None and candidates:
        raise RecipeError(
            "model.pre.input",
            expected=f"the one input that takes the picture, of {names}",
            got="none",
            do=f"Pass model.pre.input={candidates[0].spec.name}.",
        )
    got = specs.get(pre.input) if pre.input else None
    shapes = ", ".join(f"{spec.name} {spec}" for spec in specs.values())
    raise RecipeError(
        f"model.pre.input '{pre.input}'" if pre.input else "model.pre",
        expected=f"an input of shape {_SHAPES}, of {', '.join(_DTYPES)}",
        got=str(got or shapes or "no input"),
        do=f"Pass model.pre.input={names}." if len(candidates) == 1 else "",
    )


def _specs(model: ModelRecipe) -> dict[str, TensorSpec]:
    """The inputs that a caller gives."""
    axes, carried = dynamic_axes(model), state_pairs(model)
    return {
        name: TensorSpec(
            name,
            recipe.dtype,
            tuple(axes[name].get(axis, size) for axis, size in enumerate(recipe.shape)),
        )
        for name, recipe in varying_inputs(model).items()
        if name not in carried
    }


def _as_picture(spec: TensorSpec, pre: PreRecipe) -> PictureInput | None:
    """The input as one that takes pictures, if it has such a shape and dtype."""
    if len(spec.dims) != 4 or spec.dtype not in _DTYPES:
        return None
    _, first, second, third = spec.dims
    layout = _choice("layout", pre.layout, Layout) if pre.layout else None
    if first in _ORDERS and layout != "nhwc":
        return PictureInput(spec, "nchw", _size(first), second, third)
    if third in _ORDERS and layout != "nchw":
        return PictureInput(spec, "nhwc", _size(third), first, second)
    return None


def _size(dim: Dim) -> int:
    assert isinstance(dim, int)
    return dim


def _largest(dim: Dim) -> int:
    return dim.max if isinstance(dim, Dynamic) else dim


def _choice(key: str, value: str, kind: Any) -> Any:
    """The value, if it is one of a ``Literal``'s."""
    known = get_args(kind)
    if value in known:
        return value
    near = difflib.get_close_matches(value.lower(), known, n=1)
    raise RecipeError(
        f"model.pre.{key}",
        expected=f"one of {', '.join(known)}",
        got=value,
        do=f"Did you mean {near[0]}?" if near else "",
    )


def _order(pre: PreRecipe, channels: int) -> Order:
    known = _ORDERS[channels]
    if pre.order is None:
        return "grey" if channels == 1 else "rgb"
    order: Order = _choice("order", pre.order, Order)
    if order not in known:
        raise RecipeError(
            "model.pre.order",
            expected=f"{' or '.join(known)}, since the input has {channels} channels",
            got=order,
        )
    return order


def _normalisation(
    pre: PreRecipe, picture: PictureInput
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of each channel, in units of pixels."""
    if picture.spec.dtype == "uint8":
        return _of_pixels(pre, picture)
    channels = picture.channels
    mean = _numbers("mean", 0.0 if pre.mean is None else pre.mean, channels)
    std = _numbers("std", 255.0 if pre.std is None else pre.std, channels)
    if all(0 < abs(value) < 1 for value in std):
        scaled = [[round(value * 255, 4) for value in values] for values in (mean, std)]
        raise RecipeError(
            "model.pre.std",
            expected="units of pixels from 0 to 255",
            got=f"{list(std)}, which is of pixels from 0 to 1",
            do=f"Pass model.pre.mean={scaled[0]} model.pre.std={scaled[1]}.",
        )
    if not all(std):
        raise RecipeError("model.pre.std", expected="numbers other than 0", got=str(list(std)))
    return mean, std


def _of_pixels(
    pre: PreRecipe, picture: PictureInput
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """An input of uint8 takes pixels as they are."""
    channels = picture.channels
    mean = _numbers("mean", 0.0 if pre.mean is None else pre.mean, channels)
    std = _numbers("std", 1.0 if pre.std is None else pre.std, channels)
    if any(mean) or any(value != 1 for value in std):
        raise RecipeError(
            "model.pre.mean and std",
            expected="none: the input is uint8, and takes pixels from 0 to 255 as they are",
            got=f"mean {list(mean)}, std {list(std)}",
            do="Pass model.pre.mean=0 model.pre.std=1, or +pre=pixels in the place of another "
            "preset.",
        )
    return mean, std


def _numbers(key: str, value: Any, channels: int) -> tuple[float, ...]:
    """A number for each channel; one number is that of all."""
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if not all(_is_number(item) for item in values) or len(values) not in (1, channels):
        example = [0.0] * channels
        raise RecipeError(
            f"model.pre.{key}",
            expected=f"a number, or a list of {channels}, one per channel",
            got=str(value),
            do=f"Such as model.pre.{key}={example}.",
        )
    numbers = tuple(float(item) for item in values)
    return numbers * channels if len(numbers) == 1 else numbers


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _pad(pre: PreRecipe, mean: Sequence[float], std: Sequence[float]) -> float | tuple[float, ...]:
    """What lies around the picture, in units of the tensor."""
    if pre.pad is not None and pre.pad_pixel is not None:
        raise RecipeError(
            "model.pre",
            expected="pad in units of the tensor, or pad_pixel from 0 to 255",
            got="both",
            do="Set one of them to null, such as model.pre.pad_pixel=null.",
        )
    if pre.pad_pixel is None:
        pad = _numbers("pad", 0.0 if pre.pad is None else pre.pad, len(mean))
        return pad[0] if len(set(pad)) == 1 else pad
    pixels = _numbers("pad_pixel", pre.pad_pixel, len(mean))
    if not all(0 <= pixel <= 255 for pixel in pixels):
        raise RecipeError(
            "model.pre.pad_pixel", expected="pixels from 0 to 255", got=str(pre.pad_pixel)
        )
    pads = tuple((p - m) / s for p, m, s in zip(pixels, mean, std, strict=True))
    return pads[0] if len(set(pads)) == 1 else pads


def _cover(pre: PreRecipe, height: int, width: int) -> tuple[int, int] | None:
    """The height and width that a picture is scaled to cover before its middle is taken."""
    if pre.resize != "crop":
        if pre.shortest is None and pre.crop_pct is None:
            return None
        raise RecipeError(
            "model.pre.shortest and crop_pct",
            expected="model.pre.resize=crop, since they say what is cropped",
            got=f"model.pre.resize={pre.resize}",
        )
    if pre.shortest is not None:
        _check_range("shortest", pre.shortest, 100_000)
        return pre.shortest, pre.shortest
    share = 1.0 if pre.crop_pct is None else pre.crop_pct
    if not 0.01 <= share <= 1:
        raise RecipeError(
            "model.pre.crop_pct",
            expected="a share from 0.01 to 1, such as 0.875 for 224 of 256",
            got=str(share),
        )
    return math.floor(height / share), math.floor(width / share)


def _check_range(key: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise RecipeError(f"model.pre.{key}", expected=f"from 1 to {most:,}", got=str(value))


def _multiple(pre: PreRecipe, picture: PictureInput) -> int:
    """0 where the input has one size, into which every picture is padded."""
    if pre.multiple is not None:
        _check_range("multiple", pre.multiple, 4096)
    sides = [dim for dim in (picture.height, picture.width) if isinstance(dim, Dynamic)]
    if not sides:
        return 0
    if pre.resize != "letterbox" or pre.multiple is None:
        raise RecipeError(
            f"height and width of '{picture.spec.name}' vary",
            expected="model.pre.resize=letterbox and model.pre.multiple=N: the tensor ends at the "
            "next multiple of N behind the picture",
            got=f"resize {pre.resize}, multiple {pre.multiple or 'none'}",
            do=f"Pass model.pre.multiple={max(dim.multiple for dim in sides)}, or give the input "
            "fixed sizes.",
        )
    if other := next((dim for dim in sides if pre.multiple % dim.multiple), None):
        raise RecipeError(
            "model.pre.multiple",
            expected=f"a multiple of {other.multiple}, as model.dynamic.{other.name} says",
            got=str(pre.multiple),
        )
    return pre.multiple


def _values(pre: PreRecipe) -> dict[str, tuple[PictureValue | float, ...]]:
    """The further inputs, each with a row of numbers and names."""
    known = get_args(PictureValue)
    rows: dict[str, tuple[PictureValue | float, ...]] = {}
    for name, value in pre.values.items():
        row = value if isinstance(value, list | tuple) else [value]
        for item in row:
            if not _is_number(item) and item not in known:
                near = difflib.get_close_matches(str(item), known, n=1)
                raise RecipeError(
                    f"model.pre.values.{name}",
                    expected=f"numbers, and names of {', '.join(known)}",
                    got=str(item),
                    do=f"Did you mean {near[0]}?" if near else "",
                )
        rows[name] = tuple(row)
    return rows


def _check(pre: Pre, model: ModelRecipe) -> None:
    """Check the bounds of the manifest, and that the model has these inputs."""
    specs = _specs(model)
    if unknown := [name for name in pre.values if name not in specs]:
        raise RecipeError(
            f"model.pre.values.{unknown[0]}",
            expected=f"an input of the model ({', '.join(specs)})",
            got=unknown[0],
        )
    used = tuple(spec for name, spec in specs.items() if name in (pre.input, *pre.values))
    fault = pre_fault(pre, used)
    if fault is not None:
        raise RecipeError(f"model.pre.{fault.key}", expected=fault.expected, got=fault.got)
    try:
        read_value(Pre, to_json(pre), "model.pre")
    except FormatError as error:
        raise RecipeError(str(error)) from error
