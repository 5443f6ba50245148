"""A limit of time for a process, which a busy machine does not make shorter."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

_MOST_LONGER = 9  # times the seconds that it has
_SHORTEST = 0.05  # seconds; asking again at once would find the same


class Deadline:
    """When a process has had its time. What it waited for a processor does not count.

    Linux tells that of the process's main thread. It counts for up to nine times the seconds, and
    elsewhere not at all.

    Args:
        seconds: that the process has from now on.
        process: its number.

    Examples:
        >>> import os
        >>> deadline = Deadline(8.0, process=os.getpid())
        >>> 7 < deadline.left() <= 8
        True
    """

    def __init__(self, seconds: float, process: int) -> None:
        self._seconds = seconds
        self._process = process
        self._start = time.monotonic()
        self._waited_before = _waited_for_processor(process)

    def left(self) -> float:
        """Seconds after which to ask again; 0 where the time is over."""
        left = self._seconds - (time.monotonic() - self._start)
        if left <= 0:
            waited = _waited_for_processor(self._process) - self._waited_before
            left += min(waited, self._seconds * _MOST_LONGER)
        return max(left, _SHORTEST) if left > 0 else 0.0


def _waited_for_processor(process: int) -> float:
    """Seconds for which the main thread could have run, and other work had the processors."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9
    return 0.0
