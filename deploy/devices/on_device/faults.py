"""What can go wrong on a device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FaultError(Exception):
    """What is wrong here, in the parts of the desk's errors."""

    def __init__(self, what: str, *, expected: str = "", got: str = "", do: str = "") -> None:
        super().__init__(what)
        self.parts = {"what": what, "expected": expected, "got": got, "do": do}


class LinkLostError(Exception):
    """The desk is gone."""


@contextmanager
def disk_faults(path: Path) -> Iterator[None]:
    """Name what cannot be written in this block, and why.

    Raises:
        FaultError: in the place of an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise FaultError(
            f"'{error.filename or path}' on the device: {error.strerror}",
            do="Free space there, or choose another device.folder.",
        ) from error
