"""The user's cache folder, and digests of what this user has already checked or written."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def cache_folder() -> Path:
    """The folder of this project's files that can be made again: ``~/.cache/backend-chain``.

    Raises:
        RuntimeError: the user has no home.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "backend-chain"


def has_digest(kind: str, digest: str) -> bool:
    """Whether ``add_digest`` was called for it on this machine."""
    with suppress(OSError, RuntimeError):
        return _path(kind, digest).is_file()
    return False


def add_digest(kind: str, digest: str) -> None:
    """Record that a file was checked or written here, so that the check need not be repeated.

    Where the cache cannot be written, nothing is recorded, and each check is repeated.

    Args:
        kind: of check; names a folder, such as ``tried`` for bundles that were probed.
        digest: of the file's contents and of what else decides the result.
    """
    with suppress(OSError, RuntimeError):
        _path(kind, digest).parent.mkdir(parents=True, exist_ok=True)
        _path(kind, digest).touch()


def _path(kind: str, digest: str) -> Path:
    return cache_folder() / kind / digest
