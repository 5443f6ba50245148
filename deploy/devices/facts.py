"""What a device is and has, as its own program tells it, and what of that is in the way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from deploy.devices.errors import DeviceError
from deploy.devices.session import DeviceSession

_SKEW = 60.0  # seconds: certificates and people care for more


@dataclass(frozen=True)
class DeviceFacts:
    """A device.

    Attributes:
        python: the version of its Python.
        executable: the path of it.
        system: the operating system.
        architecture: such as ``aarch64``.
        libc: the C library and its version; empty where Python cannot tell.
        cores: that a process may use.
        memory: bytes; 0 where the system does not tell it.
        governor: the frequency governor; empty where there is none.
        disk: bytes that are free in the folder.
        writable: whether files can be made there.
        pip: whether its Python has it; the same for ``venv`` and ``ensurepip``.
        rsync: whether it is installed.
        clock: seconds since 1970, as the device has them.
        folder: the absolute path of the device's folder.
        environments: the extras of each installed runtime.
        bundles: the names of the bundles there.
        holder: who works there now; empty where nobody does.
    """

    python: str
    executable: str
    system: str
    architecture: str
    libc: str
    cores: int
    memory: int
    governor: str
    disk: int
    writable: bool
    pip: bool
    venv: bool
    ensurepip: bool
    rsync: bool
    clock: float
    folder: str
    environments: tuple[str, ...]
    bundles: tuple[str, ...]
    holder: str

    def obstacles(self) -> Iterator[str]:
        """What hinders a run, in sentences."""
        if not self.writable:
            yield f"its folder {self.folder} cannot be written; choose another device.folder"
        if not self.venv:
            yield "its Python has no module venv; install it, such as by: apt install python3-venv"
        elif not (self.pip or self.ensurepip):
            yield "its Python has no pip; install it, such as with: apt install python3-pip"

    def skew(self, before: float, after: float) -> float:
        """Seconds by which its clock is ahead of ours; 0 where that is not worth a word.

        Args:
            before: the time here when it was asked.
            after: the time here when it had answered.
        """
        ahead = self.clock - (before + after) / 2
        return ahead if abs(ahead) > _SKEW + (after - before) else 0.0


def find_facts(session: DeviceSession) -> tuple[DeviceFacts, float]:
    """What a device is, and the seconds by which its clock is ahead of ours.

    Raises:
        DeviceError: the connection was lost.
    """
    before = time.time()
    facts = session.ask(DeviceFacts, "probe")
    return facts, facts.skew(before, time.time())


def skew_text(skew: float) -> str:
    """A clock that is wrong, for people.

    Examples:
        >>> skew_text(-86400.0 * 3)
        'its clock is 3.0 days behind'
    """
    seconds = abs(skew)
    units = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0))
    unit, size = next((pair for pair in units if seconds >= pair[1]), ("seconds", 1.0))
    return f"its clock is {seconds / size:.1f} {unit} {'behind' if skew < 0 else 'ahead'}"


def check_facts(name: str, facts: DeviceFacts) -> None:
    """Refuse a device that lacks something.

    Raises:
        DeviceError: naming the first thing.
    """
    for obstacle in facts.obstacles():
        raise DeviceError(f"device '{name}': {obstacle}")
