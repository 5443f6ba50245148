"""Recipe's model -> a ``torch.nn.Module`` with its weights, ready to export."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from typing import Any, cast

from torch import nn

from deploy.fetch import local_file
from deploy.recipe import ModelRecipe, RecipeError
from deploy.weights import Reader, load_weights


def build_model(recipe: ModelRecipe) -> nn.Module:
    """Call the model's target with its parameters and load its weights.

    Returns:
        The module in evaluation mode.

    Raises:
        RecipeError: the target cannot be imported or called, or returns no module.
        WeightsError: the weights are missing or of another model.
    """
    model = _call(recipe)
    if recipe.weights is not None:
        readers = {end: cast(Reader, _resolve(name)) for end, name in recipe.readers.items()}
        load_weights(model, local_file(recipe.weights, recipe.sha256), readers)
    return model.eval()


def _call(recipe: ModelRecipe) -> nn.Module:
    target = _resolve(recipe.target)
    try:
        model = target(**recipe.params)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"model.target {recipe.target}({_shown(recipe)}): {error}") from error
    if not isinstance(model, nn.Module):
        raise RecipeError(
            f"model.target {recipe.target}", expected="a torch.nn.Module", got=type(model).__name__
        )
    return model


def _resolve(name: str) -> Callable[..., Any]:
    """Code that the user's own recipe names, as ``package.module:callable``."""
    if ":" not in name:
        raise RecipeError("model.target", expected="package.module:callable", got=name)
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RecipeError(
            f"model.target '{name}' cannot be imported: {error}",
            do="Check the name, and that its package is installed or in the current folder.",
        ) from error
    if not callable(found):
        raise RecipeError("model.target", expected="something to call", got=f"{name} = {found!r}")
    return cast("Callable[..., Any]", found)


def _shown(recipe: ModelRecipe) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in recipe.params.items())
