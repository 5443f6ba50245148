"""The state of a model between calls: pairs of an input and an output of its chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from backends.contract import Array
from deploy.recipe.dynamic_shapes import BATCH
from deploy.recipe.schema import ModelRecipe, RecipeError


def next_name(name: str) -> str:
    """The name of the output with the new value of a state.

    Examples:
        >>> next_name("memory")
        'memory_next'
    """
    return f"{name}_next"


def state_paths(model: ModelRecipe) -> dict[str, str]:
    """``model.state`` as a list: the path of each tensor in the model, by the input's name.

    Empty where ``model.state`` names inputs and outputs that the model has already.

    Examples:
        >>> state_paths(ModelRecipe("net", state=["encoder.memory"]))
        {'encoder_memory': 'encoder.memory'}
    """
    if isinstance(model.state, Mapping):
        return {}
    return {path.replace(".", "_"): path for path in model.state or ()}


def state_pairs(model: ModelRecipe) -> dict[str, str]:
    """The output of the chain that is the next value of an input, by the input's name.

    Examples:
        >>> state_pairs(ModelRecipe("net", state=["memory"]))
        {'memory': 'memory_next'}
        >>> state_pairs(ModelRecipe("net", state={"h": "hn"}))
        {'h': 'hn'}
    """
    if isinstance(model.state, Mapping):
        return dict(model.state)
    return {name: next_name(name) for name in state_paths(model)}


def zero_state(model: ModelRecipe) -> dict[str, Array]:
    """Zeros for each input of ``model.state``, its value before the first call."""
    inputs = {name: model.inputs[name] for name in state_pairs(model)}
    return {name: np.zeros(recipe.shape, recipe.dtype) for name, recipe in inputs.items()}


def check_state(model: ModelRecipe) -> None:
    """Check the form of ``model.state``, and that its inputs have fixed sizes.

    Raises:
        RecipeError: it is no list of paths and no mapping of inputs to outputs, names no input, or
            names two alike.
    """
    state = model.state
    if state is None:
        return
    texts = [*state, *state.values()] if isinstance(state, Mapping) else state
    if not (isinstance(texts, list) and all(isinstance(text, str) and text for text in texts)):
        raise RecipeError(
            "model.state",
            expected="[BUFFER, ...] of the model, or {INPUT: OUTPUT} of its inputs and outputs",
            got=str(state),
        )
    if model.is_onnx and not isinstance(state, Mapping) and state:
        raise RecipeError(
            "model.state of an ONNX file",
            expected="{INPUT: OUTPUT}, its inputs and the outputs with their next values",
            got=str(state),
        )
    pairs = state_pairs(model)
    clash = next((name for name in state_paths(model) if name in model.inputs), None)
    if clash or len(set(pairs.values())) < len(pairs) or len(pairs) < len(state):
        raise RecipeError(
            "model.state", expected="each tensor once, and no input's name", got=str(state)
        )
    if (
        pairs
        and BATCH in model.dynamic
        and not any(BATCH in recipe.shape for recipe in model.inputs.values())
    ):
        raise RecipeError(
            "model.dynamic.batch with model.state",
            expected="a state of fixed sizes",
            got="a batch that is axis 0 of every input, state included",
            do="Write batch into the shapes of the inputs that have it.",
        )
    for name in pairs if isinstance(state, Mapping) else ():
        _check_input(model, name)


def _check_input(model: ModelRecipe, name: str) -> None:
    if name not in model.inputs:
        raise RecipeError(
            f"model.state.{name}", expected=f"an input ({', '.join(model.inputs)})", got=name
        )
    shape: list[Any] = model.inputs[name].shape
    if not all(isinstance(size, int) for size in shape):
        raise RecipeError(
            f"model.state.{name}",
            expected="an input with fixed sizes, since its first value is zeros",
            got=str(shape),
            do=f"Fix them with model.inputs.{name}.shape.",
        )
