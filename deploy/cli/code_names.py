"""The code that a recipe names, and who has named it: the user, or a configuration file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from deploy.cli.override_values import leaves, override_leaves
from deploy.recipe.schema import ModelRecipe, Recipe, RecipeError
from deploy.recipe.shipped import conf_folder

_CODE_KEYS = {"target", "rewrites", "readers"}


def check_code(recipe: Recipe, words: Sequence[str], config: DictConfig) -> None:
    """Refuse code that neither the shipped configuration nor the command line names.

    Args:
        recipe: the recipe, from all configuration together.
        words: of the command line, as Hydra's overrides, or as a sweep escapes them for its jobs;
            with interpolations as they were typed.
        config: what Hydra composed, in which interpolations are resolved.

    Raises:
        RecipeError: naming the code, and the word that allows it.
    """
    known = {*_shipped_code(), *_typed_code(words, config)}
    allowed = allowed_modules(words)
    for key, code in _code(recipe.model):
        module = code.partition(":")[0]
        named = any(f"{module}.".startswith(f"{name}.") for name in allowed)
        if not (code in known or named):
            raise RecipeError(
                f"{key}={code} is code that a configuration file names, not the command line",
                do=f"If you know what it does, add code={module} to the command line.",
            )


def allowed_modules(words: Sequence[str]) -> list[str]:
    """The modules that ``code=`` names on the command line."""
    return [text for _, text in override_leaves(words, lambda key: key == "code")]


def _typed_code(words: Sequence[str], config: DictConfig) -> Iterator[str]:
    for key, text in override_leaves(words, lambda key: key.startswith("model")):
        if "${" not in text:
            yield text
        elif _CODE_KEYS.intersection(key.split(".")):  # not a name that only looks like code
            yield _resolved(text, config)


def _resolved(text: str, config: DictConfig) -> str:
    """A typed text with its interpolations resolved; as it is where that fails."""
    scope = OmegaConf.create({"text": text})
    scope._set_parent(config)
    try:
        return str(scope.text)
    except OmegaConfBaseException:
        return text


def _shipped_code() -> Iterator[str]:
    for path in conf_folder().rglob("*.yaml"):
        yield from _named_code(yaml.safe_load(path.read_text()))


def _named_code(value: Any) -> Iterator[str]:
    """The values of every key that names code."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in _CODE_KEYS:
                yield from (str(leaf) for _, leaf in leaves(item, ""))
            yield from _named_code(item)
    elif isinstance(value, list):
        for item in value:
            yield from _named_code(item)


def _code(model: ModelRecipe) -> Iterator[tuple[str, str]]:
    if model.target is not None:
        yield "model.target", model.target
    yield from _targets("model.params", model.params)
    yield from (("model.post.target", post.target) for post in model.post if post.target)
    yield from (("model.rewrites", name) for name in model.rewrites)
    yield from (("model.readers", name) for name in model.readers.values())


def _targets(key: str, params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in params.items():
        if isinstance(value, Mapping) and "target" in value:
            yield f"{key}.{name}.target", str(value["target"])
            yield from _targets(f"{key}.{name}.params", value.get("params") or {})
