"""Who works on a device: one desk at a time, which others are told the name of."""

from __future__ import annotations

import getpass
import socket
from contextlib import suppress
from dataclasses import dataclass

from deploy.devices.session import DeviceSession

_WAIT = 30.0  # seconds: an earlier run may be ending there


@dataclass(frozen=True)
class Done:
    """An answer without content."""


def lock_device(session: DeviceSession, purpose: str) -> None:
    """Lock a device until the session ends.

    Args:
        session: with the device.
        purpose: of the lock, for others.

    Raises:
        DeviceError: somebody else works there, by name.
    """
    session.ask(Done, "lock", holder=f"{_user()} ({purpose})", seconds=_WAIT)


def _user() -> str:
    host = socket.gethostname()
    with suppress(OSError, KeyError, ImportError):  # a user without a name
        return f"{getpass.getuser()}@{host}"
    return host
