"""The parent's end of a process that runs a bundle: it is started, called, limited and replaced."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

from backends.codec import to_json
from backends.contract import (
    DeployError,
    EngineError,
    MissingLibraryError,
    TensorError,
    Tensors,
)
from backends.process.child import Limits, failure, module_command, start_limited
from backends.process.deadline import Deadline
from deploy.runtime.bundle.manifest import BundleError, Manifest
from deploy.runtime.execution.host_steps import HostStepError
from deploy.runtime.execution.post_steps import PostError
from deploy.runtime.isolation.limits import limits_for
from deploy.runtime.isolation.shared_memory import PLACE, Message, SharedMemory

_MODULE = "deploy.runtime.isolation.worker"
_MOST_OUTPUT = 1 << 16  # bytes of what its libraries print that are kept
_TAIL = 3  # lines of that in an error
_STANDARD_ERROR = 2  # the last of the three standard files
_START = 22.0  # seconds for Python, its libraries and compiled host code to start, on small boards
_SLOW = (
    "If this machine is only slow: Pipeline.open(..., trusted=True) sets no limit, nor does "
    "isolate='never' after its trial."
)
_END = 2.0  # seconds that a process has to end after it has closed its connection

_ERRORS: Mapping[str, type[DeployError]] = {
    kind.__name__: kind
    for kind in (
        BundleError,
        EngineError,
        HostStepError,
        MissingLibraryError,
        PostError,
        TensorError,
    )
}


class BundleProcessError(EngineError):
    """The process of a bundle has ended, or exceeded its time, while a step ran."""


class BundleProcess:
    """A process that has loaded a bundle; several threads may call it, one after the other.

    Where it ends during a call, or exceeds a limit, that call raises, and the next one starts
    another process. After ``os.fork`` the child starts a process of its own.

    Args:
        root: the bundle.
        manifest: its manifest, with the engines that are to run.

    Raises:
        BundleError: a file differs from the manifest.
        EngineError: the process was ended while it loaded the bundle, or an engine does not load.
    """

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self._root, self._manifest = root, manifest
        self._limits = limits_for(root, manifest.steps)
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._closed = False
        self._life: _Life | None = self._start()

    def call(self, function: str, tensors: Tensors, **parameters: Any) -> Message:
        """Call a function of the process.

        Args:
            function: its name; see ``worker.py``.
            tensors: its arrays.
            parameters: its other values, as JSON.

        Returns:
            What it returns, in arrays that nobody else holds.

        Raises:
            BundleProcessError: the process has ended, or exceeded its time.
            DeployError: what the function raised there.
        """
        if os.getpid() != self._owner:
            self._lock, self._owner, self._life = threading.Lock(), os.getpid(), None
        with self._lock:
            if self._closed:
                raise EngineError("the chain is closed", do="Call it inside its 'with' block.")
            if self._life is None:
                self._life = self._start()
            request = Message(tensors, {"function": function, **parameters})
            try:
                return self._life.exchange(request, self._limits.seconds)
            except BaseException as error:
                if isinstance(error, BundleProcessError) or not isinstance(error, DeployError):
                    self._stop()  # it has ended, or works on: such as after Ctrl-C
                raise

    def close(self) -> None:
        """End the process."""
        self._closed = True
        self._stop()

    def _start(self) -> _Life:
        described = {"root": str(self._root.absolute()), "manifest": to_json(self._manifest)}
        life = _Life(self._limits)
        try:
            life.exchange(Message({}, described), self._limits.seconds + _START)
        except BaseException as error:
            life.close()
            if isinstance(error, BundleProcessError):
                raise BundleProcessError(
                    f"bundle '{self._root}': {error}",
                    do="Its files are damaged or made to do that; make the bundle again.",
                ) from error
            raise
        return life

    def _stop(self) -> None:
        life, self._life = self._life, None
        if life is not None and os.getpid() == self._owner:
            life.close()


class _Life:
    """One process, from its start to its end."""

    def __init__(self, limits: Limits) -> None:
        _occupy_standard_files()
        with ExitStack() as resources:
            self._requests = resources.enter_context(SharedMemory.create())
            self._results = resources.enter_context(SharedMemory.create())
            self._connection, theirs = socket.socketpair()
            resources.enter_context(self._connection)
            files = [theirs.fileno(), self._requests.file, self._results.file]
            self._output: IO[str] = resources.enter_context(
                tempfile.TemporaryFile("w+", errors="replace")
            )
            command = module_command(_MODULE, *map(str, files), str(limits.seconds))
            with theirs:
                self._child = resources.enter_context(
                    start_limited(command, limits, self._output, inherited=files)
                )
            self._resources = resources.pop_all()

    def exchange(self, request: Message, seconds: float) -> Message:
        """Send a request, and wait for its reply.

        Raises:
            BundleProcessError: the process has ended, or was silent for this time.
            DeployError: what it reports.
        """
        if os.fstat(self._output.fileno()).st_size > _MOST_OUTPUT:
            self._output.truncate(0)
        place = self._send(self._requests.write(request), seconds)
        try:
            arrays, values = self._results.read(place)
        except ValueError as error:
            raise self._ended("an answer that is none") from error
        if "error" in values:
            kind = _ERRORS.get(str(values.get("kind")), DeployError)
            raise kind(str(values["error"]))
        return Message({name: view.copy() for name, view in arrays.items()}, values)

    def _send(self, place: bytes, seconds: float) -> bytes:
        deadline = Deadline(seconds, self._child.pid)
        self._connection.settimeout(seconds)
        try:
            self._connection.sendall(place)
            reply = self._receive(deadline)
        except TimeoutError as error:
            raise self._ended(f"no end within {seconds:g} s", do=_SLOW) from error
        except OSError as error:
            raise self._ended(self._ending()) from error
        if len(reply) < PLACE.size:
            raise self._ended(self._ending())
        return reply

    def _receive(self, deadline: Deadline) -> bytes:
        while left := deadline.left():
            self._connection.settimeout(left)
            with suppress(TimeoutError):
                return self._connection.recv(PLACE.size)
        raise TimeoutError

    def _ended(self, reason: str, do: str = "") -> BundleProcessError:
        step = self._results.read_status() or "its start"
        return BundleProcessError(f"{step} ended its process: {reason}", do=do)

    def _ending(self) -> str:
        self._output.seek(0)
        lines = [line.strip() for line in self._output.read(_MOST_OUTPUT).splitlines()]
        tail = "; ".join(line for line in lines[-_TAIL:] if line)[:300]
        try:
            reason = failure(self._child.wait(_END)) or "exit code 0"
        except subprocess.TimeoutExpired:
            reason = "it closed its connection"
        return reason + (f" ({tail})" if tail else "")

    def close(self) -> None:
        """Kill the process and release the memory."""
        self._resources.close()


def _occupy_standard_files() -> None:
    """Where a program runs without standard files, let no other file get their numbers.

    A child process would find its own standard files in the place of those that it inherits.
    """
    while (file := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        pass
    os.close(file)


def check_can_isolate() -> None:
    """Refuse where this system or this program cannot start such a process.

    Raises:
        EngineError: saying why.
    """
    is_python = Path(sys.executable or "").name.lower().startswith("python")
    if sys.platform != "win32" and is_python:
        return
    why = "Windows" if is_python else "a program that embeds Python"
    raise EngineError(
        f"a bundle that is neither signed nor made here runs in a process of its own, "
        f"which {why} cannot start",
        do="Sign it and pass key=PUBKEY; or, if you know who made it, trusted=True.",
    )
