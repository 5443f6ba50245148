"""Weights by address: downloaded once into a cache folder and checked against their hash."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from shutil import copyfileobj
from urllib.parse import urlparse

from deploy.weights import WeightsError

_TIMEOUT = 30.0  # seconds without a byte


def local_file(weights: str, sha256: str | None) -> Path:
    """The weights as a file of this machine.

    Args:
        weights: a path, or an ``https`` address.
        sha256: the expected SHA-256 or its first digits; required for an address.

    Raises:
        WeightsError: no network, or a file of another hash.
    """
    if not weights.startswith("https://"):
        return Path(weights).expanduser()
    if not sha256:
        raise WeightsError(f"weights '{weights}' have no model.sha256 to check them against")
    target = _cache() / Path(urlparse(weights).path).name
    if not target.is_file():
        _download(weights, sha256, target)
    return _checked(target, sha256)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "backend-chain" / "weights"


def _download(url: str, sha256: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        part = Path(scratch) / target.name
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as source, part.open("wb") as sink:
                copyfileobj(source, sink)
        except OSError as error:
            raise WeightsError(
                f"cannot download {url} ({_reason(error)})", do="Pass model.weights=FILE."
            ) from error
        _checked(part, sha256).replace(target)


def _reason(error: OSError) -> str:
    return str(error.reason) if isinstance(error, urllib.error.URLError) else str(error)


def _checked(path: Path, sha256: str) -> Path:
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if not got.startswith(sha256.lower()):
        raise WeightsError(
            f"weights '{path}'",
            expected=f"SHA-256 {sha256}",
            got=got,
            do="Delete the file to download it again.",
        )
    return path
