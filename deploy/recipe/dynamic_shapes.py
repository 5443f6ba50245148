"""Sizes that vary: the names in a recipe's shapes, and what they stand for."""

from __future__ import annotations

from collections.abc import Mapping

from backends.contract import Dynamic
from deploy.recipe.schema import InputRecipe, ModelRecipe, RecipeError

DynamicAxes = Mapping[str, Mapping[int, Dynamic]]
"""Input to axis to the sizes of that axis."""


BATCH = "batch"


def named_ranges(dynamic: Mapping[str, list[int]]) -> dict[str, Dynamic]:
    """``model.dynamic`` as dimensions.

    Raises:
        RecipeError: a range is not three ascending sizes from 1 up.
    """
    return {
        name: parse_range(f"model.dynamic.{name}", name, sizes, 1)
        for name, sizes in dynamic.items()
    }


def parse_range(key: str, name: str, sizes: list[int], least: int) -> Dynamic:
    """Three sizes as a dimension.

    Raises:
        RecipeError: they do not ascend from ``least``; by its key.
    """
    if len(sizes) != 3 or not least <= sizes[0] <= sizes[1] <= sizes[2]:
        raise RecipeError(
            key, expected=f"[min, opt, max] with {least} <= min <= opt <= max", got=str(sizes)
        )
    return Dynamic(name, *sizes)


def dynamic_axes(model: ModelRecipe) -> dict[str, dict[int, Dynamic]]:
    """The axes that vary, for every input of the recipe."""
    spans = named_ranges(model.dynamic)
    return {name: _axes(model, spec, spans) for name, spec in model.inputs.items()}


def typical_shape(model: ModelRecipe, name: str) -> tuple[int, ...]:
    """An input's shape with every name at its ``opt`` size."""
    spans = named_ranges(model.dynamic)
    shape = model.inputs[name].shape
    return tuple(spans[size].opt if isinstance(size, str) else size for size in shape)


def check_dynamic(model: ModelRecipe) -> None:
    """Refuse a name without a range, and a range without a place.

    Raises:
        RecipeError: by its key.
    """
    known = named_ranges(model.dynamic)
    for name, spec in model.inputs.items():
        for size in spec.shape:
            if isinstance(size, str) and size not in known:
                raise RecipeError(
                    f"size '{size}' of model.inputs.{name}.shape",
                    expected="a range in model.dynamic",
                    got=", ".join(known) or "none",
                    do=f"Pass model.dynamic={{{size}: [min, opt, max]}}.",
                )
    named = _named(model)
    for name in known:
        if name not in named and name != BATCH and model.file is None:
            raise RecipeError(
                f"model.dynamic.{name} is no size of an input",
                do=f"Write {name} into a shape, such as [1, 3, {name}, 224].",
            )
    if BATCH in known and BATCH not in named:
        for name, spec in model.inputs.items():
            if not spec.shape:
                raise RecipeError(f"model.inputs.{name}", expected="a batch axis", got="a scalar")


def _named(model: ModelRecipe) -> set[str]:
    return {size for spec in model.inputs.values() for size in spec.shape if isinstance(size, str)}


def _axes(
    model: ModelRecipe, spec: InputRecipe, spans: Mapping[str, Dynamic]
) -> dict[int, Dynamic]:
    found = {axis: spans[size] for axis, size in enumerate(spec.shape) if isinstance(size, str)}
    if BATCH in spans and BATCH not in _named(model):
        return {0: spans[BATCH], **found}
    return found
