"""Code found by a registered id: in this package's models and tasks, or by entry points."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from backends.contract import DeployError

_PACKAGE = Path(__file__).resolve().parents[2]


_PLUGINS = ("models", "tasks")  # rooms of folders that nothing here imports by name


def shipped_table(module: str, table: str, folder: str = "") -> dict[Any, Any]:
    """The code that the folders of models and of tasks in this package register.

    Args:
        module: the module of such a folder that registers, such as ``post``.
        table: the name of the mapping in that module, from id to code.
        folder: the name of the only folder to look into; by default all.
    """
    code: dict[Any, Any] = {}
    for registering in _modules(module, folder):
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
    from importlib.metadata import entry_points  # few bundles need it, and it takes long

    return {**shipped, **{entry.name: entry.load() for entry in entry_points(group=group)}}


def post_id(target: str) -> str:
    """The id of a post-processing step that a user names as ``module:callable``.

    Examples:
        >>> post_id("my_post:decode")
        'my_post.decode'
    """
    return target.replace(":", ".")


def load_named(name: str, where: str, error: Callable[..., DeployError]) -> Callable[..., Any]:
    """Import what a user names as ``package.module:callable``.

    Args:
        name: as the user wrote it.
        where: the key or the option, for errors.
        error: the class of the error.

    Raises:
        DeployError: as ``error``: it has another form, cannot be imported, or cannot be called.
    """
    if ":" not in name:
        raise error(where, expected="package.module:callable", got=name[:200])
    try:
        value = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as fault:
        raise error(
            f"{where} '{name[:200]}' cannot be imported: {fault}",
            do="Check the name, and that its package is installed or in the current folder.",
        ) from fault
    if not callable(value):
        raise error(where, expected="a callable", got=f"{name[:200]}, of {type(value).__name__}")
    found: Callable[..., Any] = value
    return found


def _modules(name: str, only: str) -> Iterator[ModuleType]:
    for room in _PLUGINS:
        for file in sorted((_PACKAGE / room).glob(f"*/{name}.py")):
            if only in ("", file.parent.name):
                yield importlib.import_module(f"deploy.{room}.{file.parent.name}.{name}")
