"""Words of the main job's command line: short forms, and mistakes that are answered at once.

Hydra takes half a second to start. What is checked here needs no more than the names of files.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from backends.registry import names
from deploy.cli.catalog import GROUPS, config_choices
from deploy.cli.word_values import joined
from deploy.recipe.devices import DeviceRecipe
from deploy.recipe.schema import Recipe, RecipeError

_BUNDLE = "bundle="
_GROUP = re.compile(rf"\+?({'|'.join(GROUPS)})(@[\w.-]+)?=(.*)", re.DOTALL)
_PLAIN_CHOICES = re.compile(r"\[?[\w-]+(\s*,\s*[\w-]+)*\]?")
_KEY = re.compile(r"\+{0,2}([A-Za-z_]\w*)=(.*)", re.DOTALL)
_FOLDER_OPTIONS = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn")
_OTHER_KEYS = ("code", "hydra")


def expand_words(words: Sequence[str], more_configuration: bool = False) -> list[str]:
    """The words in full; ``deploy.cli.quoting`` then gives them the quotes that Hydra needs.

    Words that a shell has split at spaces in brackets are one word again. ``bundle=FOLDER`` sets
    the folder of the bundle, whose key has further values. A choice from a group of the
    configuration needs no plus: ``model=yolov3`` is ``+model=yolov3``.

    Args:
        words: of the command line.
        more_configuration: whether groups have further choices, in folders of the user's own.

    Raises:
        RecipeError: a choice that its group does not have, a key that no recipe has, or a word that
            is not UTF-8.
    """
    for word in words:
        _check_utf8(word)
    expanded = [_expand(word) for word in joined(words)]
    signs = (*_FOLDER_OPTIONS, "hydra.searchpath")
    if more_configuration or any(word.lstrip("+").startswith(signs) for word in expanded):
        keys = [word for word in expanded if not word.startswith("+")]  # or a group of the user's
    else:
        keys = expanded
        for word in expanded:
            _check_choice(word)
    for word in keys:
        _check_key(word)
        _check_pre(word)
    return expanded


def _check_utf8(word: str) -> None:
    """Refuse bytes that Hydra's grammar has no letters for."""
    try:
        word.encode()
    except UnicodeEncodeError as error:
        raise RecipeError(f"'{word}'", expected="UTF-8", do="Rename it.") from error


def recipe_keys() -> list[str]:
    """Every key of a recipe that has a value of its own, such as ``backend.precision``."""
    return list(_keys(Recipe, ""))


def _expand(word: str) -> str:
    if word.startswith(_BUNDLE):
        return f"bundle.folder={word.removeprefix(_BUNDLE)}"
    group = _GROUP.fullmatch(word)
    is_choice = group is not None and not group[3].lstrip().startswith("{")
    return f"+{word}" if is_choice and not word.startswith("+") else word


def _check_choice(word: str) -> None:
    group = _GROUP.fullmatch(word)
    if group is None or not _PLAIN_CHOICES.fullmatch(group[3]):
        return
    known = list(config_choices(group[1]))
    if group[1] == "backend":
        known += [name for name in names() if name not in known]
    for name in re.findall(r"[\w-]+", group[3]):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise RecipeError(
                f"{group[1]}{group[2] or ''}",
                expected=f"one of {', '.join(known)}",
                got=name,
                do=f"Did you mean {near[0]}?"
                if near
                else "Configuration of your own needs --config-dir FOLDER.",
            )


def _check_key(word: str) -> None:
    """Refuse a key without dots that is no key of the recipe, with the one that is meant."""
    match = _KEY.fullmatch(word)
    if match is None or match[1] in _OTHER_KEYS or _GROUP.fullmatch(word):
        return
    key, value = match[1], match[2]
    top = [field.name for field in fields(Recipe)]
    is_value = not value.lstrip().startswith("{")
    if key in top and not (key == "precision" and is_value):
        return
    same = [name for name in recipe_keys() if name.rpartition(".")[2] == key and name != key]
    meant = [name for name in same if _depth(name) == min(map(_depth, same))]
    near = difflib.get_close_matches(key, top, n=1)
    if meant:
        hint = f"Did you mean {' or '.join(f'{name}={value}' for name in meant)}?"
    else:
        hint = f"Did you mean {near[0]}=...?" if near else ""
    raise RecipeError(f"key '{key}'", expected=f"one of {', '.join(top)}", got=word, do=hint)


def _check_pre(word: str) -> None:
    """Refuse a preset in the place of parameters, and parameters in the place of a preset."""
    key, _, value = word.lstrip("+").partition("=")
    is_mapping = value.lstrip().startswith("{")
    if key == "pre" and is_mapping:
        raise RecipeError(
            "pre",
            expected=f"one of {', '.join(config_choices(key))}",
            got=value,
            do=f"Parameters are model.pre={value}.",
        )
    if key == "model.pre" and value in config_choices("pre"):
        raise RecipeError(
            key,
            expected="parameters, such as {std: 255}",
            got=value,
            do=f"Pass +pre={value} behind +model=.",
        )


def _depth(key: str) -> int:
    return key.count(".")


def _keys(schema: Any, prefix: str) -> Iterator[str]:
    for name, kind in get_type_hints(schema).items():
        variants = [kind, *getattr(kind, "__args__", ())]
        nested = next((variant for variant in variants if is_dataclass(variant)), None)
        is_plain = nested is None or getattr(kind, "__origin__", None) in (list, dict)
        if nested is DeviceRecipe:  # a list of what the configuration has as one, or merged
            yield from _keys(nested, f"{prefix}{name}.")
        elif is_plain:
            yield f"{prefix}{name}"
        else:
            yield from _keys(nested, f"{prefix}{name}.")
