"""Dynamic sizes: the names in a recipe's shapes, and their ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backends.contract import Dynamic
from deploy.recipe.schema import InputRecipe, ModelRecipe, RecipeError

DynamicAxes = Mapping[str, Mapping[int, Dynamic]]
"""Input name -> axis -> range of that axis."""


BATCH = "batch"
_RANGE_KEYS = ("min", "opt", "max", "multiple")


def named_ranges(dynamic: Mapping[str, Any]) -> dict[str, Dynamic]:
    """``model.dynamic`` as dimensions, by name.

    Raises:
        RecipeError: a range is not three ascending sizes from 1 up.

    Examples:
        >>> named_ranges({"batch": [1, 4, 16]})["batch"].opt
        4
        >>> sizes = {"min": 32, "opt": 320, "max": 640, "multiple": 32}
        >>> str(named_ranges({"height": sizes})["height"])
        '32..640 by 32'
    """
    return {
        name: parse_range(f"model.dynamic.{name}", name, sizes, 1)
        for name, sizes in dynamic.items()
    }


def parse_range(key: str, name: str, sizes: object, lowest: int) -> Dynamic:
    """``[min, opt, max]`` or ``{min, opt, max, multiple}`` as a dimension.

    Args:
        key: of the recipe, for the error.
        name: of the dimension.
        sizes: the three sizes, and by their names also what each size is a multiple of.
        lowest: the smallest size that is allowed.

    Raises:
        RecipeError: the sizes are not three, do not ascend from ``lowest``, or are no multiples
            of what they must be.
    """
    numbers = _range_numbers(sizes)
    if numbers is None or not lowest <= numbers[0] <= numbers[1] <= numbers[2]:
        raise RecipeError(
            key,
            expected=f"[min, opt, max] or {{min: .., opt: .., max: .., multiple: ..}} "
            f"with {lowest} <= min <= opt <= max",
            got=str(sizes),
        )
    *limits, multiple = numbers
    if multiple < 1 or any(size % multiple for size in limits):
        below = [max(size - size % multiple, multiple) for size in limits] if multiple > 0 else []
        raise RecipeError(
            key,
            expected="min, opt and max that are multiples of multiple, which is 1 or more",
            got=str(sizes),
            do=f"Such as {{min: {below[0]}, opt: {below[1]}, max: {below[2]}, "
            f"multiple: {multiple}}}."
            if below
            else "",
        )
    return Dynamic(name, *numbers)


def _range_numbers(sizes: object) -> tuple[int, int, int, int] | None:
    """The smallest, typical and largest size and their step, if they are integers."""
    if isinstance(sizes, Mapping):
        if not set(_RANGE_KEYS[:3]) <= set(sizes) <= set(_RANGE_KEYS):
            return None
        values = [sizes.get(key, 1) for key in _RANGE_KEYS]
    elif isinstance(sizes, Sequence) and not isinstance(sizes, str) and len(sizes) == 3:
        values = [*sizes, 1]
    else:
        return None
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return None
    smallest, typical, largest, multiple = values
    return smallest, typical, largest, multiple


def dynamic_axes(model: ModelRecipe) -> dict[str, dict[int, Dynamic]]:
    """The dynamic axes of every input."""
    ranges = named_ranges(model.dynamic)
    return {name: _axes(model, spec, ranges) for name, spec in varying_inputs(model).items()}


def varying_inputs(model: ModelRecipe) -> dict[str, InputRecipe]:
    """The inputs that have no value of their own."""
    return {name: spec for name, spec in model.inputs.items() if spec.value is None}


def typical_shape(model: ModelRecipe, name: str) -> tuple[int, ...]:
    """An input's shape with every dynamic size at its ``opt``."""
    ranges = named_ranges(model.dynamic)
    shape = model.inputs[name].shape
    return tuple(ranges[size].opt if isinstance(size, str) else size for size in shape)


def check_dynamic(model: ModelRecipe) -> None:
    """Check that every name in a shape has a range, and every range is used.

    Raises:
        RecipeError: one has not; the text names its key.
    """
    ranges = named_ranges(model.dynamic)
    for name, spec in model.inputs.items():
        for size in spec.shape:
            if isinstance(size, str) and size not in ranges:
                raise RecipeError(
                    f"size '{size}' of model.inputs.{name}.shape",
                    expected="a range in model.dynamic",
                    got=", ".join(ranges) or "none",
                    do=f"Pass model.dynamic={{{size}: [min, opt, max]}}.",
                )
    used = _names_in_shapes(model)
    for name in ranges:
        if name not in used and name != BATCH and not model.is_onnx:
            raise RecipeError(
                f"model.dynamic.{name} is no size of an input",
                do=f"Use {name} in a shape, such as [1, 3, {name}, 224].",
            )
    if BATCH in ranges and BATCH not in used:
        for name, spec in varying_inputs(model).items():
            if not spec.shape:
                raise RecipeError(f"model.inputs.{name}", expected="a batch axis", got="a scalar")


def _names_in_shapes(model: ModelRecipe) -> set[str]:
    return {size for spec in model.inputs.values() for size in spec.shape if isinstance(size, str)}


def _axes(
    model: ModelRecipe, spec: InputRecipe, ranges: Mapping[str, Dynamic]
) -> dict[int, Dynamic]:
    axes = {axis: ranges[size] for axis, size in enumerate(spec.shape) if isinstance(size, str)}
    if BATCH in ranges and BATCH not in _names_in_shapes(model):
        return {0: ranges[BATCH], **axes}
    return axes
