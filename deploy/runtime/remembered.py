"""What this user has seen before on this machine: empty files in the cache folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from backends.files import cache_folder


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
