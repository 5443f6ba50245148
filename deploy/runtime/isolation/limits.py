"""What a process that runs somebody else's bundle may use."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from backends.contract import Artifact
from backends.process.child import Limits

_SECONDS = 8.0  # and one more for each megabyte
_MOST_SECONDS = 3600.0
_MOST_BYTES = 1 << 40
_MEMORY = 8 << 30  # and eight times the files
_RESULTS = 4 << 30  # bytes of the arrays that a call returns


def limits_for(root: Path, artifacts: Sequence[Artifact]) -> Limits:
    """The limits of a process that loads these artifacts, and of each call.

    Args:
        root: the folder of their files.
        artifacts: what it loads.
    """
    size = sum(_size(root / name) for step in artifacts for name in step.files)
    return Limits(min(_SECONDS + size / 1e6, _MOST_SECONDS), _MEMORY + 8 * size, _RESULTS)


def _size(path: Path) -> int:
    """Bytes of a file; 0 where there is none, which loading it reports."""
    with suppress(OSError):
        return min(path.stat().st_size, _MOST_BYTES)  # a file with holes may claim any size
    return 0
