"""``verify.tolerance``: the bounds that a recipe sets in the place of those of the precisions."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from backends.acceptance import AcceptanceRule, Bounds
from deploy.recipe.schema import RecipeError, VerifyRecipe

_KEY = "verify.tolerance"
_RANGES = {"max_rel": (0.0, float("inf")), "cosine": (-1.0, 1.0)}


def recipe_rule(recipe: VerifyRecipe) -> AcceptanceRule:
    """The acceptance rule with what the recipe sets.

    Raises:
        RecipeError: a bound that does not exist, or is no number in its range.

    Examples:
        >>> rule = recipe_rule(VerifyRecipe(tolerance={"max_rel": 0.01, "y": {"cosine": 0.9}}))
        >>> rule.max_rel, rule.tensors
        (0.01, {'y': Bounds(max_rel=None, cosine=0.9)})
    """
    own = {name: value for name, value in recipe.tolerance.items() if isinstance(value, Mapping)}
    shared = {name: value for name, value in recipe.tolerance.items() if name not in own}
    general = _bounds(_KEY, shared)
    return AcceptanceRule(
        general.max_rel,
        general.cosine,
        recipe.min_matched,
        {name: _bounds(f"{_KEY}.{name}", bounds) for name, bounds in own.items()},
    )


def check_tolerances(rule: AcceptanceRule, tensors: Collection[str]) -> None:
    """Refuse bounds of tensors that no step produces.

    Raises:
        RecipeError: naming the tensor, and those that there are.
    """
    for name in rule.tensors:
        if name not in tensors:
            near = difflib.get_close_matches(name, tensors, n=1)
            raise RecipeError(
                f"{_KEY}.{name}",
                expected=f"an output of a step ({', '.join(sorted(tensors))})",
                got=name,
                do=f"Did you mean {near[0]}?" if near else "",
            )


def _bounds(key: str, values: Mapping[str, Any]) -> Bounds:
    for name, value in values.items():
        if name not in _RANGES:
            raise RecipeError(
                f"{key}.{name}",
                expected="max_rel, cosine, or a tensor with {max_rel: ..., cosine: ...}",
                got=f"{name}: {value}",
            )
        low, high = _RANGES[name]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number and low <= value <= high and value < float("inf")):
            raise RecipeError(
                f"{key}.{name}",
                expected="a number from 0 up" if name == "max_rel" else "a number from -1 to 1",
                got=repr(value),
            )
    return Bounds(**{name: float(value) for name, value in values.items()})
