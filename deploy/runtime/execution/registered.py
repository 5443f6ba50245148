"""Code found by a registered id: in this package's models and tasks, or by entry points."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[2]


_PLUGINS = ("models", "tasks")  # rooms of folders that nothing here imports by name


def shipped_table(module: str, table: str) -> dict[str, Any]:
    """The code that the folders of models and of tasks in this package register.

    Args:
        module: the module of such a folder that registers, such as ``post``.
        table: the name of the mapping in that module, from id to code.
    """
    code: dict[str, Any] = {}
    for registering in _modules(module):
        code.update(vars(registering)[table])
    return code


def find_registered(
    id: str, shipped: Mapping[str, Any], group: str
) -> tuple[Any, Mapping[str, Any]]:
    """What is registered under an id, and everything that is.

    Args:
        id: the id.
        shipped: the code of this package, by id.
        group: the group of entry points for installed packages.

    Returns:
        The code, or None where nothing has this id; and all code that is known by then.
    """
    known = shipped
    if id not in known:  # only then, since asking for entry points reads every distribution
        known = all_registered(shipped, group)
    return known.get(id), known


def all_registered(shipped: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Everything that is registered, by id; see ``find_registered``."""
    return {**shipped, **{entry.name: entry.load() for entry in entry_points(group=group)}}


def _modules(name: str) -> Iterator[ModuleType]:
    for room in _PLUGINS:
        for folder in pkgutil.iter_modules([str(_PACKAGE / room)]):
            if (_PACKAGE / room / folder.name / f"{name}.py").is_file():
                yield importlib.import_module(f"deploy.{room}.{folder.name}.{name}")
