"""Whether a file is still the one that was read: told by its state, without reading it again."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_SETTLED_NS = 2_000_000_000  # the coarsest clock of common file systems has steps of two seconds


class FileState(NamedTuple):
    """What a file system changes with the content of a file.

    Nobody but the system sets the time of the last change, which also setting the other one
    changes.

    Attributes:
        device: that holds the file.
        inode: of it there.
        size: in bytes.
        modified_ns: when the content was last written.
        changed_ns: when content, owner or name was last changed.
    """

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


def file_state(path: Path) -> FileState:
    """The state of a file; links are followed.

    Raises:
        OSError: it is not there.
    """
    stat = path.stat()
    return FileState(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def are_settled(states: Iterable[FileState]) -> bool:
    """Whether a further write would show in the states, which were read just now.

    Clocks of file systems have steps. What was written a moment ago can be written once more within
    the same step, and then has the same state.
    """
    now = time.time_ns()
    return all(max(state.modified_ns, state.changed_ns) < now - _SETTLED_NS for state in states)
