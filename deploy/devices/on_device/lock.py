"""One desk at a time works on a device; the system frees the lock when this program ends."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from deploy.devices.on_device.desk import Desk
from deploy.devices.on_device.faults import FaultError, disk_faults

_PAUSE = 0.2  # seconds between attempts
_MOST = 200  # bytes of a holder


class Lock:
    """The lock of a device's folder.

    Args:
        path: its file.

    Attributes:
        handle: the open file, where this program holds it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.handle: int | None = None

    def take(self, holder: str, seconds: float, desk: Desk) -> None:
        """Take the lock for as long as this program runs.

        Args:
            holder: for others, who they wait for.
            seconds: to wait for another.
            desk: which may be gone meanwhile.

        Raises:
            FaultError: somebody else has it, by name; or it cannot be written.
        """
        with disk_faults(self._path):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        end = time.monotonic() + seconds
        while not _try_lock(handle):
            if time.monotonic() > end:
                raise FaultError(
                    f"the device is in use by {self.holder() or 'somebody'}",
                    do="Wait until that run has ended, or end it.",
                )
            desk.listen_for(_PAUSE)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{holder} since {since} (the device's clock)".encode(), 0)
        self.handle = handle

    def holder(self) -> str:
        """Who has the lock; empty where nobody has."""
        try:
            handle = os.open(self._path, os.O_RDWR)
        except OSError:
            return ""
        try:
            is_free = _try_lock(handle)
            return "" if is_free else os.pread(handle, _MOST, 0).decode(errors="replace")
        finally:
            os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
