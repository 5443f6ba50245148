"""Other processes, seen from outside."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def running(part: bytes, folder: Path | None = None) -> list[int]:
    """The processes with this in their command line, of those that work below a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words, cwd = (path / "cmdline").read_bytes(), (path / "cwd").readlink()
        except OSError:
            continue
        if part in words and (folder is None or cwd.is_relative_to(folder)):
            found.append(int(path.name))
    return found


def until(condition: Callable[[], object]) -> None:
    """Wait for something that takes no minute."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come to that within a minute")
