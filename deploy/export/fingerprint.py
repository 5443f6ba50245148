"""Hashes of files, tensors and code: the inputs that determine the result of a stage."""

from __future__ import annotations

import hashlib
import json
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
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
    excluded = [Path(sysconfig.get_path(name)).resolve() for name in _INSTALLED]
    excluded += [_ROOT / package for package in _PACKAGES]
    for name, module in sorted(sys.modules.items()):
        spec = vars(module).get("__spec__") if isinstance(module, ModuleType) else None
        path = Path(spec.origin).resolve() if spec is not None and spec.origin else Path()
        is_code = path.suffix == ".py" and path.is_file()
        if is_code and not any(path.is_relative_to(folder) for folder in excluded):
            yield name, path


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
