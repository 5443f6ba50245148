"""What the process's own Python asks for that no loading should: an audit hook."""

from __future__ import annotations

import os
import re
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.spawn",
    "os.posix_spawn",
    "os.putenv",
    "pty.spawn",
    "pickle.find_class",
    "socket.",
    "ftplib.",
    "http.client.",
    "urllib.Request",
    "webbrowser.open",
    "fuzzing.canary",  # of ``canary``, when it is imported or called
)
_PATHS = (
    "os.chmod",
    "os.chown",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.truncate",
    "os.utime",
    "shutil.",
)
# these do not follow a link at the end of a path
_ITSELF = ("os.mkdir", "os.remove", "os.rename", "os.rmdir")
_ROOT = str(Path(__file__).resolve().parents[2])
_MODULES = ("backends.", "deploy.")
_READS = ("os.listdir", "os.scandir")
_WAITED = re.compile(r"/proc/\d+/schedstat")  # for how long a child waited for a processor
_READABLE = (
    sys.prefix,
    sys.base_prefix,
    _ROOT,
    "/proc/self/",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/",
)


class Audit:
    """Notes what a case asks for; of the harness itself it notes nothing.

    Attributes:
        inside: folders that the case may read and write.
    """

    def __init__(self) -> None:
        self.inside: tuple[str, ...] = ()
        self._found: dict[str, str] = {}
        self._armed = False
        sys.addaudithook(self._hook)

    def arm(self, *inside: Path) -> None:
        """From now on nothing but these folders."""
        self.inside, self._armed = tuple(str(one) for one in inside), True
        self._found.clear()

    def disarm(self) -> dict[str, str]:
        """What was asked for in between, and by whom."""
        self._armed = False
        return dict(self._found)

    def _hook(self, event: str, arguments: Sequence[object]) -> None:
        if not self._armed:
            return
        self._armed = False  # what follows asks for things itself
        try:
            if fault := self._fault(event, arguments):
                self._found[fault] = "".join(traceback.format_stack(limit=10)[:-1])
        finally:
            self._armed = True

    def _fault(self, event: str, arguments: Sequence[object]) -> str:
        check = _CHECKS.get(event)
        if check is not None:
            return check(self, arguments)
        if event.startswith(_FORBIDDEN):
            return f"{event} {arguments!r}"[:300]
        if event.startswith((*_PATHS, *_READS)):
            paths = [one for one in arguments if isinstance(one, str | bytes)]
            resolved = _itself if event in _ITSELF else _real
            away = [one for one in paths if not self._is_inside(resolved(one))]
            if event in _READS:
                away = [one for one in away if not _real(one).startswith(_READABLE)]
            return f"{event} {away}" if away else ""
        return ""

    def _open(self, arguments: Sequence[object]) -> str:
        path, mode, flags = arguments
        if not isinstance(path, str | bytes):
            return ""
        writes = bool(flags & _WRITES) if isinstance(flags, int) else False
        writes = writes or any(letter in str(mode or "") for letter in "wax+")
        if not self._away(path):
            return ""
        if not writes and (_real(path).startswith(_READABLE) or _WAITED.fullmatch(_real(path))):
            return ""
        started = f"/proc/{os.getpid()}/stat"  # has the time at which this process began
        return (
            ""
            if _real(path) in ("/dev/null", started)
            else f"open to {_verb(writes)} {path!r}"[:300]
        )

    def _popen(self, arguments: Sequence[object]) -> str:
        executable, words = arguments[0], arguments[1]
        listed = [str(word) for word in words] if isinstance(words, list | tuple) else []
        ours = listed[1:3] == ["-P", "-c"] and _is_ours(listed[3])
        if executable == sys.executable and ours:
            return ""
        return f"subprocess.Popen {executable!r} {listed}"[:300]

    def _socket(self, arguments: Sequence[object]) -> str:
        """A pair of sockets within the machine has no address; to connect is another event."""
        return "" if arguments[1] == socket.AF_UNIX else f"socket.__new__ {arguments!r}"[:300]

    def _dlopen(self, arguments: Sequence[object]) -> str:
        name = arguments[0]
        path = _real(name) if isinstance(name, str | bytes) else ""
        return "" if not path or path.startswith(_READABLE) else f"ctypes.dlopen {name!r}"

    def _import(self, arguments: Sequence[object]) -> str:
        file = arguments[1]
        away = isinstance(file, str) and not _real(file).startswith(_READABLE)
        return f"import {arguments[0]} from {file}" if away else ""

    def _away(self, path: str | bytes) -> bool:
        return not self._is_inside(_real(path))

    def _is_inside(self, real: str) -> bool:
        return any(real == one or real.startswith(f"{one}/") for one in self.inside)


def _is_ours(code: str) -> bool:
    """Whether this text stands in a module of the product as it is: nothing of a case is in it."""
    ours = (module for name, module in sys.modules.items() if name.startswith(_MODULES))
    return any(code == value for module in ours for value in vars(module).values())


def _real(path: str | bytes) -> str:
    try:
        return os.path.realpath(os.fsdecode(path))
    except ValueError:  # a NUL in it: no system call takes that
        return "/dev/null"


def _itself(path: str | bytes) -> str:
    """A path whose folders are resolved, and whose last name may be a link."""
    folder, name = os.path.split(os.fsdecode(path))
    return f"{_real(folder or '.')}/{name}"


def _verb(writes: bool) -> str:
    return "write" if writes else "read"


_CHECKS: dict[str, Callable[[Audit, Sequence[object]], str]] = {
    "open": Audit._open,
    "subprocess.Popen": Audit._popen,
    "socket.__new__": Audit._socket,
    "ctypes.dlopen": Audit._dlopen,
    "import": Audit._import,
}
