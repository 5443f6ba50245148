"""The user's cache folder, and what this user has seen before on this machine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def cache_folder() -> Path:
    """Where a user's programs keep what they can make again.

    Raises:
        RuntimeError: the user has no home.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "backend-chain"


def remembered(kind: str, digest: str) -> bool:
    """Whether ``remember`` was called for it."""
    with suppress(OSError, RuntimeError):
        return _place(kind, digest).is_file()
    return False


def remember(kind: str, digest: str) -> None:
    """Note it; where nothing can be written, it is seen anew each time.

    Args:
        kind: of what; names a folder.
        digest: that tells it from all others.
    """
    with suppress(OSError, RuntimeError):
        _place(kind, digest).parent.mkdir(parents=True, exist_ok=True)
        _place(kind, digest).touch()


def _place(kind: str, digest: str) -> Path:
    return cache_folder() / kind / digest
