"""Hashes of files, tensors and code: the inputs that determine the result of a stage."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from backends.contract import Tensors

_LAYOUT = 1  # version of the cache's layout; part of every key


_INSTALLED = ("stdlib", "platstdlib", "purelib", "platlib")


_PACKAGES = ("deploy", "backends")


_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class CacheKey:
    """A stage, and everything that determines its result.

    Attributes:
        stage: the name of the stage.
        subject: what the stage works on, for people, such as ``yolov3``; not part of the digest.
        parts: the inputs of the stage by name, as JSON values.
    """

    stage: str
    subject: str
    parts: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """The SHA-256 of stage and parts, as hexadecimal digits."""
        content = {"layout": _LAYOUT, "stage": self.stage, "parts": self.parts}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def hash_files(paths: Iterable[Path]) -> dict[str, str]:
    """The SHA-256 of each file, by its name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def hash_tensors(tensors: Tensors) -> dict[str, str]:
    """Dtype, shape and SHA-256 of each tensor, by its name."""
    return {
        name: f"{array.dtype}{list(array.shape)} "
        + hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
        for name, array in tensors.items()
    }


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """The versions of Python and of these distributions; empty for one that is not installed."""
    return {"python": sys.version, **{name: _version(name) for name in distributions}}


@cache
def project_code() -> str:
    """The SHA-256 of this project's own code, so that results of another version are not reused."""
    return _hash_code([_ROOT / package for package in _PACKAGES])


@cache
def package_code(package: str) -> str:
    """The SHA-256 of a package's code, such as an external backend; that of no code if absent."""
    spec = find_spec(package)
    return _hash_code(map(Path, spec.submodule_search_locations or ()) if spec else ())


def _hash_code(folders: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            name = path.relative_to(folder.parent).as_posix()
            digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def loaded_code() -> dict[str, str]:
    """The SHA-256 of the user's own loaded modules, by their names.

    Those are not in the standard library, not installed, and not part of this project.
    """
    return {
        name: digest for name, path in _user_modules() for digest in hash_files([path]).values()
    }


def _user_modules() -> Iterator[tuple[str, Path]]:
    ours = tuple(f"{_ROOT / package}{os.sep}" for package in _PACKAGES)
    excluded = (*ours, *_installed_folders())
    real_folder = cache(os.path.realpath)  # thousands of modules share a few
    for name, module in sorted(sys.modules.items()):
        spec = vars(module).get("__spec__") if isinstance(module, ModuleType) else None
        if spec is not None and (spec.origin or "").endswith(".py"):
            folder, file = os.path.split(spec.origin)
            path = Path(real_folder(folder), file)
            path = path.resolve() if path.is_symlink() else path
            if not str(path).startswith(excluded) and path.is_file():
                yield name, path


def _installed_folders() -> tuple[str, ...]:
    """Where the standard library and installed packages are, each with a separator at its end."""
    return tuple(f"{os.path.realpath(sysconfig.get_path(name))}{os.sep}" for name in _INSTALLED)


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of the distributions that have installed these loaded packages.

    Args:
        packages: names of top-level modules. One that is not installed has no version; its code
            counts instead, see ``loaded_code``.
    """
    installed = [package for package in packages if _is_installed(package)]
    if not installed:  # the search reads the list of files of every distribution
        return {}
    found = packages_distributions()
    return versions(name for package in installed for name in found.get(package, ()))


def _is_installed(package: str) -> bool:
    module = sys.modules.get(package)
    places = (getattr(module, "__file__", None) or "", *getattr(module, "__path__", ()))
    return any(os.path.realpath(place).startswith(_installed_folders()) for place in places)


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
