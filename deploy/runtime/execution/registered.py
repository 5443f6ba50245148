"""Code found by a registered id: in the model folders of this package, or by entry points."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

_MODELS = Path(__file__).resolve().parents[2] / "models"  # plugins: nothing here imports them


def find_registered(id: str, module: str, table: str, group: str) -> tuple[Any, Mapping[str, Any]]:
    """What is registered under an id, and everything that is.

    Args:
        id: the id.
        module: the module of a model folder that registers, such as ``post``.
        table: the name of the mapping in that module, from id to code.
        group: the group of entry points for installed packages.

    Returns:
        The code, or None where nothing has this id; and all code that is known by then.
    """
    known = _of_models(module, table)
    if id not in known:  # only then, since asking for entry points reads every distribution
        known = all_registered(module, table, group)
    return known.get(id), known


def all_registered(module: str, table: str, group: str) -> dict[str, Any]:
    """Everything that is registered, by id; see ``find_registered``."""
    others = {entry.name: entry.load() for entry in entry_points(group=group)}
    return _of_models(module, table) | others


def _of_models(module: str, table: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in _modules(module):
        found.update(vars(one)[table])
    return found


def _modules(name: str) -> Iterator[ModuleType]:
    for model in pkgutil.iter_modules([str(_MODELS)]):
        if (_MODELS / model.name / f"{name}.py").is_file():
            yield importlib.import_module(f"deploy.models.{model.name}.{name}")
