"""Configuration that somebody else may have written: it sets values, and runs nothing.

Code is named on the command line, where the user types it; Hydra's own settings too, for they name
code that Hydra calls by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.utils import get_args_parser

from deploy.cli.catalog import conf_folder
from deploy.recipe.schema import ModelRecipe, Recipe, RecipeError

_MOST_BYTES = 1 << 20


_MOST_VALUES = 100_000


def check_code(recipe: Recipe, words: Sequence[str]) -> None:
    """Refuse code that neither the shipped configuration nor the command line names.

    Args:
        recipe: the recipe, from all configuration together.
        words: of the command line, as Hydra's overrides.

    Raises:
        RecipeError: naming the code, and the word that allows it.
    """
    known = "\n".join((*words, *(path.read_text() for path in conf_folder().rglob("*.yaml"))))
    allowed = [name for word in words if word.startswith("code=") for name in _names(word)]
    for key, code in _code(recipe.model):
        module = code.partition(":")[0]
        named = any(f"{module}.".startswith(f"{name}.") for name in allowed)
        if not (code in known or named):
            raise RecipeError(
                f"{key}={code} is code that a configuration file names, not the command line",
                do=f"If you know what it does, add code={module} to the command line.",
            )


def check_folders(arguments: Sequence[str]) -> None:
    """Refuse configuration folders whose files reach into Hydra itself.

    Args:
        arguments: of the command line.

    Raises:
        RecipeError: as of ``check_folder``.
    """
    parsed = get_args_parser().parse_known_args(list(arguments))[0]
    words = [word for word in parsed.overrides if word.lstrip("+~").startswith("hydra.searchpath")]
    searched = [name for word in words for name in _names(word)]
    for name in [parsed.config_dir, parsed.config_path, *searched]:
        if name and not name.startswith("pkg://"):
            check_folder(Path(name.removeprefix("file://")))


def check_folder(folder: Path) -> None:
    """Refuse a configuration folder whose files configure Hydra itself.

    Raises:
        RecipeError: a file that is too large, is not YAML, or configures Hydra.
    """
    if (folder / "hydra").exists():
        raise _of_hydra(folder / "hydra")
    for path in sorted((*folder.rglob("*.yaml"), *folder.rglob("*.yml"))):
        _check_file(path)


def _check_file(path: Path) -> None:
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            raise RecipeError(f"configuration '{path}'", expected="a file of at most 1 MiB")
        text = path.read_text()
        values = list(_walk(yaml.safe_load(text), []))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        first = str(error).partition("\n")[0]
        raise RecipeError(f"configuration '{path}' is not readable: {first}") from error
    headers = re.findall(r"^#\s*@package(.*)$", text, re.MULTILINE)
    if any("hydra" in word for word in (*values, *headers)):
        raise _of_hydra(path)


def _walk(value: Any, seen: list[None]) -> Iterator[str]:
    """Every key, and every word of the lists of defaults, which say where things are put."""
    seen.append(None)
    if len(seen) > _MOST_VALUES:
        raise ValueError(f"more than {_MOST_VALUES:,} values")
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            if key == "defaults":
                yield from map(str, item if isinstance(item, list) else [item])
            yield from _walk(item, seen)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, seen)


def _code(model: ModelRecipe) -> Iterator[tuple[str, str]]:
    if model.target is not None:
        yield "model.target", model.target
    yield from _targets("model.params", model.params)
    yield from (("model.rewrites", name) for name in model.rewrites)
    yield from (("model.readers", name) for name in model.readers.values())


def _targets(key: str, params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in params.items():
        if isinstance(value, Mapping) and "target" in value:
            yield f"{key}.{name}.target", str(value["target"])
            yield from _targets(f"{key}.{name}.params", value.get("params") or {})


def _names(word: str) -> list[str]:
    """The names in a word such as ``code=[a,b]``."""
    return re.findall(r"[^\s,\[\]'\"]+", word.partition("=")[2])


def _of_hydra(path: Path) -> RecipeError:
    return RecipeError(
        f"configuration '{path}' sets what Hydra itself does",
        expected="values of a recipe alone",
        do="Give settings of Hydra on the command line.",
    )
