"""A session on a device: one connection, and a program there that answers requests.

The connection is the master of OpenSSH's connection sharing, so that files go through it too, and
it ends with this process, whatever ends that.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from backends.codec import FormatError, from_json
from backends.files import temporary_folder
from backends.json_limits import check_json
from deploy.devices.device_program import device_program
from deploy.devices.errors import DeviceError
from deploy.devices.on_device.desk import MARK
from deploy.devices.ssh import (
    check_device,
    connection_error,
    lost,
    python_command,
    session_command,
    shared_options,
)
from deploy.recipe.devices import DeviceRecipe

LEAST_PYTHON = (3, 11)
"""The oldest Python that runs the runtime."""

_TOO_OLD = "too old: "
# It has to be understood by every Python there is, and by every shell: one line, no quotes inside.
_START = (
    "import sys; sys.path[:] = filter(None, sys.path); "
    "exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())) if sys.version_info >= {least} "
    'else "sys.stdout.write(chr(10) + {mark} + '
    'str(sys.version_info[:3]) + chr(10))")'
)
_ALIVE = 20.0  # seconds between signs of life
_ENDING = 20.0  # seconds that the device has to end what runs there
_LAST_LINES = 50
_MOST_LINE = 128 << 20  # bytes of an answer
_Reply = TypeVar("_Reply")


class DeviceSession:
    """What a desk asks of a device; made by ``open_session``.

    Attributes:
        lines: the last that programs there have told.

    Args:
        device: where.
        ssh: the connection, with pipes.
        folder: a private one here, with the socket of the connection.
        tell: is given lines on what happens there.
    """

    def __init__(
        self,
        device: DeviceRecipe,
        ssh: subprocess.Popen[bytes],
        folder: Path,
        tell: Callable[[str], None],
    ) -> None:
        self.device, self.folder, self.tell = device, folder, tell
        self.lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._ssh = ssh
        self._received = b""
        self._alive = time.monotonic()

    @property
    def shared(self) -> list[str]:
        """Options of ssh, with which another program uses this connection."""
        return shared_options(socket_path(self.folder))

    def ask(self, reply: type[_Reply], do: str, /, **arguments: Any) -> _Reply:
        """Ask for something there, and wait for the answer.

        Args:
            reply: the dataclass of the answer.
            do: what is asked for: of ``on_device.program.Device``.
            arguments: of it.

        Raises:
            DeviceError: it cannot be done there, takes longer than ``device.timeout``, or the
                connection was lost.
        """
        self._send(json.dumps({"do": do, **arguments}))
        answer = self.answer(do, self.device.timeout)
        try:
            check_json(answer, do)
            return from_json(reply, answer, do)
        except FormatError as error:
            raise DeviceError(f"device '{self.device.name}' answers wrongly: {error}") from error

    def answer(self, do: str, seconds: float) -> Any:
        """The next answer; lines of progress before it are told."""
        end = time.monotonic() + seconds
        while True:
            message = self._message(do, end)
            if "line" in message:
                self.lines.append(str(message["line"]))
                self.tell(self.lines[-1])
            elif "fault" in message:
                raise self._fault(message["fault"])
            elif "reply" in message:
                return message["reply"]

    def wait(self, process: subprocess.Popen[Any], do: str) -> None:
        """Wait for a program here that uses the connection.

        Raises:
            DeviceError: it takes longer than ``device.timeout``.
        """
        end = time.monotonic() + self.device.timeout
        while process.poll() is None:
            if time.monotonic() > end:
                raise self._too_long(do)
            with suppress(subprocess.TimeoutExpired):
                process.wait(min(_ALIVE, 0.5))
            self._show_life()

    def is_ended(self) -> bool:
        """Whether the connection has ended."""
        with suppress(subprocess.TimeoutExpired):
            self._ssh.wait(1.0)  # its own programs see the end first
        return self._ssh.poll() is not None

    def close(self) -> None:
        """End the program there and the connection, as far as they have not ended."""
        with suppress(OSError):
            self._input.close()
        with suppress(subprocess.TimeoutExpired):
            self._ssh.wait(_ENDING)
        self._ssh.kill()
        self._ssh.wait()
        self._output.close()

    def ended(self) -> DeviceError:
        """Why the program there has ended."""
        with suppress(OSError):
            self._input.close()
        try:
            code = self._ssh.wait(_ENDING)
        except subprocess.TimeoutExpired:
            return lost(self.device)
        errors = errors_path(self.folder).read_text(errors="replace")
        return connection_error(self.device, errors, code)

    @property
    def _input(self) -> IO[bytes]:
        assert self._ssh.stdin is not None
        return self._ssh.stdin

    @property
    def _output(self) -> IO[bytes]:
        assert self._ssh.stdout is not None
        return self._ssh.stdout

    def start(self, program: str) -> None:
        """Send the program, which then answers for the first time."""
        data = program.encode()
        self._write(b"%d\n%b" % (len(data), data))
        self.answer("start", self.device.timeout)

    def _send(self, text: str) -> None:
        self._write(text.encode() + b"\n")

    def _write(self, data: bytes) -> None:
        try:
            self._input.write(data)
            self._input.flush()
        except OSError as error:
            raise self.ended() from error

    def _show_life(self) -> None:
        if time.monotonic() - self._alive > _ALIVE:
            self._alive = time.monotonic()
            self._write(b"\n")

    def _message(self, do: str, end: float) -> Mapping[str, Any]:
        """The next marked line; what the files of a login shell print is passed over."""
        while True:
            line, found, rest = self._received.partition(b"\n")
            if found:
                self._received = rest
                text = line.decode(errors="replace")
                if text.startswith(_TOO_OLD):
                    raise self._old_python(text.removeprefix(_TOO_OLD))
                if text.startswith(MARK):
                    return self._parsed(text.removeprefix(MARK))
            else:
                self._receive(do, end)

    def _receive(self, do: str, end: float) -> None:
        seconds = end - time.monotonic()
        if seconds <= 0 or len(self._received) > _MOST_LINE:
            raise self._too_long(do)
        if select.select([self._output], [], [], min(seconds, _ALIVE))[0]:
            data = os.read(self._output.fileno(), 1 << 20)
            if not data:
                raise self.ended()
            self._received += data
        if do != "start":
            self._show_life()

    def _parsed(self, text: str) -> Mapping[str, Any]:
        try:
            message = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DeviceError(f"device '{self.device.name}' answers no JSON") from error
        return message if isinstance(message, dict) else {}

    def _fault(self, parts: Any) -> DeviceError:
        known = parts if isinstance(parts, dict) else {}
        texts = {key: str(known.get(key, ""))[:1000] for key in ("expected", "got", "do")}
        return DeviceError(f"device '{self.device.name}': {str(known.get('what'))[:1000]}", **texts)

    def _old_python(self, version: str) -> DeviceError:
        return DeviceError(
            f"device '{self.device.name}': Python '{self.device.python}'",
            expected=f"{'.'.join(map(str, LEAST_PYTHON))} or later",
            got=version.strip("()").replace(", ", "."),
            do="Install a later one there, and name it with device.python.",
        )

    def _too_long(self, do: str) -> DeviceError:
        return DeviceError(
            f"device '{self.device.name}': '{do}' takes longer than {self.device.timeout:g} s",
            do="Give it more time with device.timeout.",
        )


@contextmanager
def open_session(device: DeviceRecipe, tell: Callable[[str], None]) -> Iterator[DeviceSession]:
    """Connect to a device for this block; what runs there at its end is ended.

    Args:
        device: where.
        tell: is given lines on what happens there.

    Raises:
        DeviceError: it cannot be reached, or its Python is too old.
    """
    check_device(device)
    with temporary_folder(Path("/tmp")) as folder:  # sockets need short paths
        command = session_command(device, socket_path(folder), python_command(device, start_line()))
        session = DeviceSession(device, _started(command, folder), folder, tell)
        try:
            session.start(device_program(device.folder))
            yield session
        finally:
            session.close()


def start_line() -> str:
    """The line of Python that runs the program there, or says that the Python is too old."""
    # texts as numbers: quotes inside of quotes are not the same in all shells
    mark = " + ".join(f"chr({ord(character)})" for character in _TOO_OLD)
    return _START.format(least=LEAST_PYTHON, mark=mark)


def socket_path(folder: Path) -> Path:
    """Of the connection that others share."""
    return folder / "s"


def errors_path(folder: Path) -> Path:
    """What ssh and the device's shell print on standard error."""
    return folder / "errors"


def _started(command: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    try:
        with errors_path(folder).open("wb") as errors:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for this process, which ends both sides
            )
    except FileNotFoundError as error:
        raise DeviceError(
            "there is no ssh here", do="Install the OpenSSH client: openssh-client."
        ) from error
