"""Devices in configuration folders that somebody else may have written.

A device says to whom a bundle is sent, and how: some options of ``ssh`` start programs here, and
wheels are code that runs there. So a file of a folder may describe a device that the command line
names, and no other; and what is code has to be typed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.cli.code_names import allowed_modules
from deploy.cli.override_values import leaves, override_leaves
from deploy.recipe.schema import RecipeError

_GROUP = "device"
_FLAGS = {"-4", "-6", "-C", "-T", "-a", "-q", "-x", "-v", "-vv", "-vvv"}
_WITH_VALUE = {"-J", "-b", "-i", "-l", "-p"}
_SETTINGS = {  # of -o, of which none starts a program or lets a host key pass
    *("addressfamily", "batchmode", "bindaddress", "compression", "connectionattempts"),
    *("connecttimeout", "hostname", "identitiesonly", "identityfile", "loglevel", "port"),
    *("preferredauthentications", "proxyjump", "serveralivecountmax", "serveraliveinterval"),
    *("tcpkeepalive", "user"),
}
_OWN_SETTINGS = "Write it into ~/.ssh/config, or give it on the command line: 'device.ssh=[...]'."


def check_device_values(path: Path, config_path: str, values: Any, words: Sequence[str]) -> None:
    """Refuse what a file of a folder must not say about devices.

    Args:
        path: the file, for the error.
        config_path: as Hydra names the file, such as ``device/pi``.
        values: its content, in the place where Hydra puts it.
        words: Hydra's overrides.

    Raises:
        RecipeError: naming the file and the key.
    """
    device = values.get(_GROUP) if isinstance(values, Mapping) else None
    if device is None or allowed_modules(words):
        return
    is_named = bool(override_leaves(words, lambda key: key == _GROUP))
    if not (config_path.startswith(f"{_GROUP}/") and is_named):
        key = next((key for key, _ in leaves(device, _GROUP)), _GROUP)
        raise RecipeError(
            f"configuration '{path}' sets {key}, which says where the bundle is sent",
            expected="a file of the group device that the command line chooses",
            do="Remove it there, and pass device=NAME.",
        )
    if isinstance(device, Mapping):
        _check_options(path, device.get("ssh"), words)
        _check_wheels(path, device.get("wheels"), words)


def _check_options(path: Path, options: Any, words: Sequence[str]) -> None:
    if options is None or _is_typed("ssh", words):
        return
    listed = options if isinstance(options, list) else [options]
    if unknown := _first_unknown([str(option) for option in listed]):
        raise RecipeError(
            f"configuration '{path}' sets device.ssh to {unknown!r}, which may start a program "
            "here",
            expected="options such as -p, -i, -J and -o ConnectTimeout=5",
            do=_OWN_SETTINGS,
        )


def _first_unknown(options: Sequence[str]) -> str:
    """The first option that is not known to start no program; empty where all are."""
    remaining = list(options)
    while remaining:
        option = remaining.pop(0)
        if option in _FLAGS:
            continue
        name, value = option[:2], option[2:]
        if not value and remaining:
            value = remaining.pop(0)
            option = f"{option} {value}" if name == "-o" else option
        is_setting = name == "-o" and _setting(value) in _SETTINGS
        if not (is_setting or (name in _WITH_VALUE and value and not value.startswith("-"))):
            return option
    return ""


def _setting(text: str) -> str:
    """The keyword of ``Port=22`` or ``port 22``."""
    return text.replace("=", " ").split(maxsplit=1)[0].lower() if text.strip("= ") else ""


def _check_wheels(path: Path, wheels: Any, words: Sequence[str]) -> None:
    if wheels is not None and not _is_typed("wheels", words):
        raise RecipeError(
            f"configuration '{path}' sets device.wheels, whose code runs on the device",
            do="Give it on the command line, where it replaces this one: device.wheels=FOLDER, or "
            "add code=MODULE if you know the folder.",
        )


def _is_typed(key: str, words: Sequence[str]) -> bool:
    return bool(override_leaves(words, lambda typed: typed == f"{_GROUP}.{key}"))
