"""Checks of the devices of a recipe before any stage runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from deploy.recipe.devices import DeviceRecipe
from deploy.recipe.schema import RecipeError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")  # in tables, and of files
_EXTRA = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_WORD = re.compile(r"[^\s\x00-\x1f\x7f-][^\s\x00-\x1f\x7f]*")  # that is no option
_LINE = re.compile(r"[^\x00-\x1f\x7f]+")


def check_devices(devices: Sequence[DeviceRecipe]) -> None:
    """Check what a recipe is told about its devices; none of them is asked.

    Raises:
        RecipeError: a key has an invalid value; the text names the key and what it takes.
    """
    if any(not device.name for device in devices):
        raise RecipeError(
            "device", expected="a device", got="keys of one alone", do="Pass device=NAME, too."
        )
    for device in devices:
        for key, value, expected, is_valid in _rules(device):
            if not is_valid:
                raise RecipeError(
                    f"{key} of device '{device.name}'", expected=expected, got=repr(value)[:200]
                )
    names = [device.name for device in devices]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise RecipeError("device", expected="each device once", got=f"'{twice}' twice")


def _rules(device: DeviceRecipe) -> Iterator[tuple[str, object, str, bool]]:
    """Each key with its value, what it takes, and whether it does."""
    letters = "letters, digits, '_', '.' and '-'"
    yield "name", device.name, letters, bool(_NAME.fullmatch(device.name))
    host = device.host
    address = "an address as ssh takes it, such as pi@raspberrypi"
    yield "host", host, address, host is None or bool(_WORD.fullmatch(host))
    yield "python", device.python, "a program there", bool(_WORD.fullmatch(device.python))
    yield "folder", device.folder, "a path there", bool(_LINE.fullmatch(device.folder))
    yield "ssh", device.ssh, "options of ssh", all(map(_LINE.fullmatch, device.ssh))
    yield (
        "ssh",
        device.ssh,
        "none, since there is no host to reach",
        host is not None or not device.ssh,
    )
    yield "extras", device.extras, letters, all(map(_EXTRA.fullmatch, device.extras))
    yield "timeout", device.timeout, "seconds above 0", device.timeout > 0
