"""Recipe's model -> a ``torch.nn.Module`` with its weights, ready to export."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, cast

from torch import nn

from deploy.export.weights import Reader, load_weights, local_file
from deploy.recipe.schema import ModelRecipe, RecipeError


def build_model(recipe: ModelRecipe) -> nn.Module:
    """Call the model's target with its parameters, and load its weights.

    Returns:
        The module in evaluation mode.

    Raises:
        RecipeError: the target cannot be imported or called, or returns no module.
        WeightsError: the weights are missing or of another model.
    """
    assert recipe.target is not None, "the recipe was checked"
    model = _call("model", recipe.target, recipe.params)
    if not isinstance(model, nn.Module):
        raise RecipeError(
            f"model.target {recipe.target}", expected="a torch.nn.Module", got=type(model).__name__
        )
    if recipe.weights is not None:
        readers = {
            end: cast(Reader, _resolve("model.readers", name))
            for end, name in recipe.readers.items()
        }
        load_weights(model, local_file(recipe.weights, recipe.sha256), readers)
    return model.eval()


def _call(key: str, name: str, params: Mapping[str, Any]) -> Any:
    """What a target returns; of a parameter that has a target of its own, what that returns."""
    target = _resolve(f"{key}.target", name)
    given = {
        param: _call(f"{key}.params.{param}", value["target"], value.get("params") or {})
        if isinstance(value, dict) and "target" in value
        else value
        for param, value in params.items()
    }
    try:
        return target(**given)
    except (TypeError, ValueError) as error:
        shown = ", ".join(f"{param}={value!r}" for param, value in params.items())
        raise RecipeError(f"{key}.target {name}({shown}): {error}") from error


def _resolve(key: str, name: str) -> Callable[..., Any]:
    """Code that the user's own recipe names, as ``package.module:callable``."""
    if ":" not in name:
        raise RecipeError(key, expected="package.module:callable", got=name)
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RecipeError(
            f"{key} '{name}' cannot be imported: {error}",
            do="Check the name, and that its package is installed or in the current folder.",
        ) from error
    if not callable(found):
        raise RecipeError(key, expected="something to call", got=f"{name} = {found!r}")
    return cast("Callable[..., Any]", found)
