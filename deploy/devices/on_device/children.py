"""Programs that run here for the desk, and end with it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.devices.on_device.desk import SILENCE, Desk
from deploy.devices.on_device.faults import FaultError, LinkLostError, disk_faults
from deploy.devices.on_device.lock import Lock

_ENDING = 10.0  # seconds for a program to undo what it has begun
_MOST_OUTPUT = 64 << 20  # bytes of its standard output
_POLL = 1.0  # seconds
_READ = 1 << 16  # bytes at a time


@dataclass(frozen=True)
class Ended:
    """How a program has ended: its exit code, and its standard output."""

    code: int
    output: bytes

    @property
    def lines(self) -> list[str]:
        """The lines of its output."""
        return self.output.decode(errors="replace").splitlines()


class Children:
    """Starts programs.

    Args:
        desk: with which they end.
        lock: which they keep where this program is killed and they are not.
    """

    def __init__(self, desk: Desk, lock: Lock) -> None:
        self._desk, self._lock = desk, lock

    def run(
        self,
        words: Sequence[str],
        cwd: str,
        environment: Mapping[str, str],
        heard: Callable[[str], bool],
    ) -> Ended:
        """Run a program in a process group of its own.

        Args:
            words: of its command line.
            cwd: its working directory.
            environment: variables beside those of this program.
            heard: is given each line of its standard error; true sends it to the desk.

        Raises:
            FaultError: it cannot be started, or prints too much.
            LinkLostError: the desk is gone; the program is ended.
        """
        with disk_faults(Path(words[0])):
            child = subprocess.Popen(
                list(words),
                cwd=cwd,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=[] if self._lock.handle is None else [self._lock.handle],
            )
        try:
            output = self._read(child, heard)
            return Ended(child.wait(), output)
        finally:
            _end(child)

    def _read(self, child: subprocess.Popen[bytes], heard: Callable[[str], bool]) -> bytes:
        """The standard output of a program, to its end."""
        assert child.stdout is not None and child.stderr is not None
        output, errors = child.stdout.fileno(), child.stderr.fileno()
        printed, rest, is_open = bytearray(), b"", {output, errors}
        last = time.monotonic()
        while is_open:
            ready = select.select([0, *is_open], [], [], _POLL)[0]
            if 0 in ready:
                self._desk.listen(0)
                last = time.monotonic()
            elif time.monotonic() - last > SILENCE:
                raise LinkLostError
            for handle in is_open & set(ready):
                data = os.read(handle, _READ)
                if not data:
                    is_open = is_open - {handle}
                if handle == output:
                    printed += data
                else:
                    rest = self._tell(rest + data, heard, ended=not data)
            if len(printed) > _MOST_OUTPUT:
                raise FaultError("a program on the device prints too much")
        return bytes(printed)

    def _tell(self, data: bytes, heard: Callable[[str], bool], ended: bool) -> bytes:
        """Hand whole lines over; returns the rest."""
        *lines, rest = data.split(b"\n")
        for line in [*lines, rest] if ended else lines:
            text = line.decode(errors="replace").rstrip()[:2000]
            if text and heard(text):
                self._desk.send(line=text)
        return b"" if ended else rest


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a program and all that it has started in its group."""
    with suppress(ProcessLookupError):
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                child.wait(_ENDING)
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
