"""Hashes of files, tensors and code: what decides the result of a stage."""

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

_LAYOUT = 1  # of the cache; another one finds nothing of this


_INSTALLED = ("stdlib", "platstdlib", "purelib", "platlib")


_ROOMS = ("deploy", "backends")


_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class CacheKey:
    """A stage, and everything that decides its result.

    Attributes:
        stage: its name.
        subject: what it is about, for people, such as ``yolov3``.
        parts: names to what JSON can hold.
    """

    stage: str
    subject: str
    parts: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """The SHA-256 of all of it, as hexadecimal digits."""
        whole = {"layout": _LAYOUT, "stage": self.stage, "parts": self.parts}
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


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
    """Python's version, and those of these distributions as far as they are installed."""
    return {"python": sys.version, **{name: _version(name) for name in distributions}}


@cache
def project_code() -> str:
    """The SHA-256 of this project's own code: a stage of another version is another stage."""
    return _of_code([_ROOT / room for room in _ROOMS])


@cache
def package_code(package: str) -> str:
    """The SHA-256 of a package's code, which may be somebody else's backend."""
    spec = find_spec(package)
    return _of_code(map(Path, spec.submodule_search_locations or ()) if spec else ())


def _of_code(folders: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            name = path.relative_to(folder.parent).as_posix()
            digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def loaded_code() -> dict[str, str]:
    """The SHA-256 of every module's file that is neither Python's, installed, nor the project's."""
    return {name: digest for name, path in _own_modules() for digest in hash_files([path]).values()}


def _own_modules() -> Iterator[tuple[str, Path]]:
    others = [Path(sysconfig.get_path(name)).resolve() for name in _INSTALLED]
    others += [_ROOT / room for room in _ROOMS]
    for name, module in sorted(sys.modules.items()):
        spec = vars(module).get("__spec__") if isinstance(module, ModuleType) else None
        path = Path(spec.origin).resolve() if spec is not None and spec.origin else Path()
        is_code = path.suffix == ".py" and path.is_file()
        if is_code and not any(path.is_relative_to(folder) for folder in others):
            yield name, path


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
