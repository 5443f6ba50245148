"""What touches the folder with the canaries, native code included: Linux's inotify."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

_NONBLOCK, _CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
_DO_NOT_FOLLOW = 0x02000000
_KINDS = {
    0x1: "read",
    0x2: "written",
    0x4: "changed in its attributes",
    0x8: "closed after writing",
    0x20: "opened",
    0x40: "moved away",
    0x80: "moved in",
    0x100: "created",
    0x200: "deleted",
    0x400: "deleted itself",
    0x800: "moved itself",
    0x4000: "so often that events were lost",
}
_ALL = sum(kind for kind in _KINDS if kind != 0x4000)
_HEADER = struct.Struct("iIII")
_BUFFER = 1 << 16


class Watch:
    """Events of every file and folder below a folder, in the order of their happening.

    The queue is the kernel's: a process that dies after the deed has still been seen.
    """

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._file = libc.inotify_init1(_NONBLOCK | _CLOEXEC)
        self._paths: dict[int, Path] = {}
        for path in (folder, *folder.rglob("*")):
            mark = libc.inotify_add_watch(self._file, os.fsencode(path), _ALL | _DO_NOT_FOLLOW)
            if mark < 0:
                raise OSError(ctypes.get_errno(), f"inotify does not watch {path}")
            self._paths[mark] = path

    def events(self) -> list[str]:
        """What happened since the last call, each kind of event once."""
        found: dict[str, None] = {}
        while True:
            try:
                data = os.read(self._file, _BUFFER)
            except BlockingIOError:
                return list(found)
            at = 0
            while at < len(data):
                mark, mask, _, size = _HEADER.unpack_from(data, at)
                name = data[at + _HEADER.size : at + _HEADER.size + size].rstrip(b"\0")
                at += _HEADER.size + size
                path = self._paths.get(mark, Path()) / os.fsdecode(name)
                words = [word for bit, word in _KINDS.items() if mask & bit]
                found.update({f"{path} {word}": None for word in words})

    def close(self) -> None:
        """Watch no longer."""
        os.close(self._file)
