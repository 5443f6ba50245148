"""The user's cache folder, and digests of what this user has already checked or written."""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

_SECRET_BYTES = 32


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


def user_secret() -> bytes:
    """A random key that only this user can read; made at the first call.

    Raises:
        OSError: it cannot be read or written.
        RuntimeError: the user has no home.
    """
    path = cache_folder() / "secret"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent) as part:  # only this user can read it
            part.write(secrets.token_bytes(_SECRET_BYTES))
            part.flush()
            with suppress(FileExistsError):  # another process was faster
                os.link(part.name, path)
    return path.read_bytes()


def _path(kind: str, digest: str) -> Path:
    return cache_folder() / kind / digest
