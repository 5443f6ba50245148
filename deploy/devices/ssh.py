"""The user's own OpenSSH client: its command lines, and what its errors mean.

Its configuration, agent, known hosts and jump hosts hold as they do by hand. No password is asked
for, and no host key is accepted that the user has not.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.devices.errors import DeviceError
from deploy.recipe.devices import DeviceRecipe

FAILED = 255
"""The exit code of ssh where ssh itself has failed, not the program on the device."""

_HOST = re.compile(r"(?:ssh://)?(?:[\w.+][\w.+-]*@)?(?:\[[0-9a-fA-F:.]+\]|\w[\w.:-]*)/?", re.ASCII)
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\"\\*?\[\]]")  # also in commands of sftp
_FORCED = (
    "BatchMode=yes",
    "ClearAllForwardings=yes",
    "ControlPersist=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
)
# behind the user's options: of ssh the first value holds
_DEFAULTS = ("ConnectTimeout=20", "ServerAliveInterval=15", "ServerAliveCountMax=4")


@dataclass(frozen=True)
class _Cause:
    """What a line of ssh means, and what a user can do."""

    pattern: str
    meaning: str
    do: str


_BY_HAND = "Try by hand: ssh {host}"
_CAUSES = (
    _Cause(
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is not the one that you have accepted before",
        "Somebody may be in between. If the device was set up anew, remove the old key by hand "
        "with ssh-keygen -R, connect once and compare the new fingerprint.",
    ),
    _Cause(
        "Host key verification failed|No .* host key is known",
        "its host key is not known here",
        "Connect once by hand, and compare the fingerprint: ssh {host}",
    ),
    _Cause(
        "Permission denied|Too many authentication failures",
        "it accepts none of your keys",
        "Put your public key there (ssh-copy-id {host}), or name the key in ~/.ssh/config. "
        "Passwords are not asked for.",
    ),
    _Cause("Could not resolve hostname", "its name is not known", "Check device.host."),
    _Cause("Connection refused", "nothing listens there", "Start its SSH server; check the port."),
    _Cause(
        "timed out|No route to host|Network is unreachable|Host is down",
        "it does not answer",
        "Check that it is switched on and in your network.",
    ),
    _Cause(
        "Connection (?:to .* )?(?:closed|reset)|Broken pipe|not responding|closed by remote host",
        "the connection was lost",
        "Run it again: what has arrived there is not sent twice.",
    ),
)


def check_device(device: DeviceRecipe) -> None:
    """Refuse what ssh or a shell there could take for something else.

    Raises:
        DeviceError: naming the key.
    """
    if os.name != "posix":
        raise DeviceError(
            _named(device), expected="a desk with Linux or macOS", got="another system"
        )
    if device.host is None or not _HOST.fullmatch(device.host):
        raise _refused(device, "host", "a name as ssh takes it, such as pi@raspberrypi")
    if not device.folder.strip() or _UNSAFE.search(device.folder):
        raise _refused(device, "folder", "a path without quotes, brackets and wildcards")
    if not device.python or device.python.startswith("-") or _UNSAFE.search(device.python):
        raise _refused(device, "python", "a command or a path, such as python3.12")


def session_command(device: DeviceRecipe, socket: Path, command: str) -> list[str]:
    """The connection that others share: ``command`` runs there.

    Args:
        device: where.
        socket: for the others; its path has to be short.
        command: of the device's shell.
    """
    assert device.host is not None
    forced = [*_FORCED, "ControlMaster=yes", f"ControlPath={socket}"]
    options = [*_options(forced), *device.ssh, *_options(_DEFAULTS)]
    return ["ssh", *options, "--", device.host, command]


def shared_options(socket: Path) -> list[str]:
    """Options for a program that goes through the connection of ``session_command`` alone.

    Where that is gone it fails: it knows no other way to the device.
    """
    settings = ("BatchMode=yes", "ControlMaster=no", f"ControlPath={socket}", "ProxyCommand=false")
    return ["-F", "none", *_options(settings)]


def python_command(device: DeviceRecipe, code: str) -> str:
    """The words for the device's shell that run a line of Python there."""
    return f"{_shell_path(device.python)} -c {shlex.quote(code)}"


def connection_error(device: DeviceRecipe, errors: str, code: int) -> DeviceError:
    """What it means that a session has ended.

    Args:
        device: where.
        errors: what ssh and the device's shell have printed.
        code: the exit code of ssh.
    """
    name, host = _named(device), device.host or ""
    last = _last_line(errors)
    if code == FAILED:
        cause = _cause(errors, last)
        if cause is None:
            return DeviceError(f"{name} cannot be reached", got=last, do=_BY_HAND.format(host=host))
        return DeviceError(f"{name}: {cause.meaning} ({last})", do=cause.do.format(host=host))
    if code in (126, 127):
        return DeviceError(
            f"{name} has no Python called '{device.python}'",
            got=last,
            do="Name another with device.python, such as python3.12.",
        )
    return DeviceError(f"{name}: its side has ended (exit code {code})", got=last)


def _cause(errors: str, last: str) -> _Cause | None:
    """What ssh says in its last line counts; login files there may print errors of their own."""
    changed, *others = _CAUSES
    searched = [(errors, [changed]), (last, others), (errors, others)]
    pairs = ((text, cause) for text, causes in searched for cause in causes)
    return next((cause for text, cause in pairs if re.search(cause.pattern, text)), None)


def lost(device: DeviceRecipe) -> DeviceError:
    """The connection has ended in the middle."""
    return DeviceError(
        f"{_named(device)}: the connection was lost",
        do="Run it again: what has arrived there is not sent twice.",
    )


def _last_line(errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return lines[-1][:500] if lines else "no word of it"


def _options(settings: Sequence[str]) -> list[str]:
    return [word for setting in settings for word in ("-o", setting)]


def _shell_path(path: str) -> str:
    """A path for the shell there, which shall know ``~`` and nothing else."""
    if path.startswith("~/"):
        return f'"$HOME"/{shlex.quote(path[2:])}'
    return shlex.quote(path)


def _named(device: DeviceRecipe) -> str:
    return f"device '{device.name}'"


def _refused(device: DeviceRecipe, key: str, expected: str) -> DeviceError:
    value = {"host": device.host, "folder": device.folder, "python": device.python}[key]
    return DeviceError(f"{_named(device)}: {key}", expected=expected, got=repr(value))
