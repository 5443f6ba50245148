"""The backends: folders of this package, and entry points of the group ``deploy.backends``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import backends
from backends.contract import (
    About,
    Convert,
    DeployError,
    Load,
    MissingLibraryError,
    install_hint,
    no_obstacle,
)


class UnknownBackendError(DeployError):
    """A name of no backend."""


def names() -> list[str]:
    """The names of all backends, whether their engines are installed or not."""
    return sorted(_packages())


def package(name: str) -> str:
    """The import path of a backend's package.

    Raises:
        UnknownBackendError: no backend has this name.
    """
    known = _folders()
    if name not in known:  # only then: finding entry points reads the metadata of all distributions
        known = _packages()
    if name not in known:
        raise UnknownBackendError("backend", expected=" or ".join(sorted(known)), got=repr(name))
    return known[name]


def about(name: str) -> About:
    """What the backend is for and what it needs."""
    return cast(About, importlib.import_module(package(name)).ABOUT)


def options_type(name: str) -> type[Any]:
    """The frozen dataclass of the backend's options."""
    return cast("type[Any]", importlib.import_module(package(name)).Options)


def converter(name: str) -> Convert:
    """The backend's desk half.

    Raises:
        UnknownBackendError: no backend has this name.
        MissingLibraryError: a library that it needs is not installed.
    """
    return cast(Convert, _import_half(name, "convert", "desk").convert)


def loader(name: str) -> Load:
    """The backend's device half; errors as for ``converter``."""
    return cast(Load, _import_half(name, "run").load)


def check_libraries(name: str, *, runs: bool) -> None:
    """Refuse a backend whose libraries are not installed, without loading them.

    A distribution may have another name, such as one for GPUs: its module counts too. A backend
    with an ``obstacle`` of its own looks for its libraries there.

    Args:
        name: the backend's.
        runs: whether its engine is needed, beside its converter.

    Raises:
        MissingLibraryError: naming them, and how to install them.
    """
    facts = about(name)
    if facts.obstacle is not no_obstacle:
        return
    needed = dict.fromkeys((*facts.convert, *(facts.run if runs else ())))
    if missing := [library for library in needed if not _is_installed(library)]:
        raise MissingLibraryError(
            f"backend '{name}' cannot be used here: {', '.join(missing)} not installed",
            do=install_hint("desk", facts.extra),
        )


def _is_installed(distribution: str) -> bool:
    from importlib.metadata import PackageNotFoundError, version  # no device needs it

    try:
        version(distribution)
    except PackageNotFoundError:
        return find_spec(distribution.replace("-", "_")) is not None
    return True


def self_checks(name: str) -> Mapping[str, Callable[[], str]]:
    """The backend's own checks of a GPU, by name; each returns a description of its result.

    Raises:
        MissingLibraryError: a library that it needs is not installed.
    """
    if find_spec(f"{package(name)}.selfcheck") is None:
        return {}
    checks = _import_half(name, "selfcheck").CHECKS
    return cast("Mapping[str, Callable[[], str]]", checks)


def _packages() -> dict[str, str]:
    from importlib.metadata import entry_points

    return _folders() | {entry.name: entry.value for entry in entry_points(group="deploy.backends")}


def _folders() -> dict[str, str]:
    return {
        half.parent.name: f"{backends.__name__}.{half.parent.name}"
        for folder in map(Path, backends.__path__)
        for half in folder.glob("*/run.py")  # other folders are shared modules
    }


def _extra(name: str, half: str) -> str:
    facts = about(name)
    return facts.extra if half == "convert" else facts.device_extra or facts.extra


def _import_half(name: str, half: str, *extras: str) -> ModuleType:
    try:
        return importlib.import_module(f"{package(name)}.{half}")
    except ImportError as error:
        raise MissingLibraryError(
            f"backend '{name}' cannot be used here: {error}",
            do=install_hint(*extras, _extra(name, half)),
        ) from error
