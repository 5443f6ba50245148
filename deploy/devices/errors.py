"""The error of a device that cannot be used."""

from __future__ import annotations

from backends.contract import DeployError


class DeviceError(DeployError):
    """A device that cannot be reached, lacks something, or on which a bundle cannot be measured."""
