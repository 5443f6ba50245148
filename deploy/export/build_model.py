"""The model of a recipe as a ``torch.nn.Module`` with its weights."""

from __future__ import annotations

import pickle
import random
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from deploy.export.export_failures import FAILURES, failure_text
from deploy.export.module_kinds import plain_module
from deploy.export.weights import Reader, load_weights, local_file
from deploy.recipe.schema import MODEL_DTYPES, ModelRecipe, RecipeError
from deploy.runtime.execution.registered import load_named

# raised by functions that read a model from a file
_FILE_ERRORS = (OSError, EOFError, ImportError, pickle.UnpicklingError, zipfile.BadZipFile)
_DTYPES = {name: getattr(torch, name) for name in MODEL_DTYPES}


def build_model(recipe: ModelRecipe) -> nn.Module:
    """Call the model's target with its parameters, and load its weights.

    Args:
        recipe: a validated recipe with a ``target``.

    Returns:
        The module in evaluation mode.

    Raises:
        RecipeError: the target cannot be imported or called, or returns no module.
        WeightsError: the weights are missing or belong to another model.
    """
    assert recipe.target is not None, "validated"
    where = f"model.target {recipe.target}"
    with _seeded(recipe.seed):
        model = _call("model", recipe.target, recipe.params)
    if recipe.weights is not None:
        readers = {
            suffix: cast(Reader, load_named(name, "model.readers", RecipeError))
            for suffix, name in recipe.readers.items()
        }
        module = _with_weights(model, where)
        load_weights(module, local_file(recipe.weights, recipe.sha256), readers)
    module = plain_module(model, where)
    return module if recipe.dtype is None else module.to(_DTYPES[recipe.dtype])


def _with_weights(model: Any, where: str) -> nn.Module:
    if not isinstance(model, nn.Module):
        plain_module(model, where)  # says what is no module
        raise RecipeError(
            f"model.weights does nothing for a {type(model).__name__}", do="Leave it out."
        )
    return model


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed all random numbers that a target may draw; those of others go on behind the block."""
    python, legacy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % (1 << 32))
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)


def _call(key: str, name: str, params: Mapping[str, Any]) -> Any:
    """Call a target; parameters with a target of their own are built first."""
    target = load_named(name, f"{key}.target", RecipeError)
    arguments = {
        param: _call(f"{key}.params.{param}", value["target"], value.get("params") or {})
        if isinstance(value, dict) and "target" in value
        else value
        for param, value in params.items()
    }
    try:
        return target(**arguments)
    except (*FAILURES, *_FILE_ERRORS) as error:
        shown = ", ".join(f"{param}={value!r}" for param, value in params.items())
        raise RecipeError(f"{key}.target {name}({shown}): {failure_text(error)}") from error
