"""Removes from a device what runs have put there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deploy.devices.errors import DeviceError
from deploy.devices.holder import lock_device
from deploy.devices.session import open_session
from deploy.recipe.devices import DeviceRecipe


@dataclass(frozen=True)
class _Cleaned:
    left: int


def clean_device(device: DeviceRecipe, tell: Callable[[str], None]) -> int:
    """Remove bundles, environments and data; returns how many files of others are left.

    Args:
        device: where.
        tell: is given lines on what happens there.

    Raises:
        DeviceError: the device cannot be reached, is in use, or is this machine.
    """
    if device.host is None:
        raise DeviceError(f"device '{device.name}' is this machine: nothing was put there")
    with open_session(device, tell) as session:
        lock_device(session, "cleaning")
        return session.ask(_Cleaned, "clean").left
