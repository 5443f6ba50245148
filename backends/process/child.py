"""Child processes: the command of a module, limits, and an end together with the parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import backends
from backends.process.deadline import Deadline

_ENDS_WITH_PARENT = "DEPLOY_ENDS_WITH_PARENT"
_KILLED = 5.0  # seconds; an interrupted Popen.wait may hold its lock, and no end would be seen
_ROOT = str(Path(backends.__file__).parents[1])

# The packages of the parent come first, whatever other version is installed. Their folder is then
# the last place to look in, since a checkout holds other folders and site-packages other modules.
_RUN_MODULE = """\
import runpy, sys
root, *sys.argv = sys.argv[1:]
sys.path.insert(0, root)
import backends, deploy
sys.path.append(sys.path.pop(0))
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True)
class Limits:
    """The resources of a child process.

    Attributes:
        seconds: until it is killed; see ``Deadline``.
        memory: bytes that it and each process it starts may allocate; 0 sets no limit.
        file: bytes of a file that they write; 0 sets no limit.
    """

    seconds: float
    memory: int = 0
    file: int = 0


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module as ``python -m`` does, but never from the working directory.

    A user's ``deploy.py`` in that folder would hide ours. ``backends`` and ``deploy`` are those of
    this process, also where they are a checkout that is not installed. Other packages are found if
    they are installed or on ``PYTHONPATH``.

    Args:
        module: the dotted name of a module, or of a package with ``__main__.py``.
        arguments: of its command line.
    """
    return [sys.executable, "-P", "-c", _RUN_MODULE, _ROOT, module, *arguments]


def run_limited(
    command: Sequence[str],
    limits: Limits,
    output: IO[str],
    stdin_line: str = "",
) -> str:
    """Run a command to its end, together with every process that it starts.

    Its process group is gone when this returns or raises, also after Ctrl-C. It ends when this
    process is killed, if the command calls ``end_with_parent``.

    Args:
        command: the program and its arguments.
        limits: memory and files are limited on Linux alone.
        output: receives its standard output and standard error.
        stdin_line: a line for its standard input.

    Returns:
        How it failed, such as ``signal SIGSEGV``; an empty text on success.
    """
    with start_limited(command, limits, output) as child:
        if stdin_line and child.stdin is not None:
            with suppress(BrokenPipeError):
                child.stdin.write(f"{stdin_line}\n".encode())
                child.stdin.flush()
        deadline = Deadline(limits.seconds, child.pid)
        while left := deadline.left():
            with suppress(subprocess.TimeoutExpired):
                return failure(child.wait(left))
    return f"no end within {limits.seconds:g} s"


def end_with_parent() -> None:
    """In a child: end this process group when the parent has ended.

    The parent keeps the standard input open without writing to it.
    """
    if _ENDS_WITH_PARENT in os.environ and sys.platform != "win32":
        threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    if sys.platform != "win32":
        while os.read(0, 4096):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)


@contextmanager
def start_limited(
    command: Sequence[str], limits: Limits, output: IO[str], inherited: Collection[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command; it and every process that it starts are gone after the block.

    Args:
        command: as of ``run_limited``.
        limits: of memory and files; the seconds are the caller's affair.
        output: as of ``run_limited``.
        inherited: file descriptors of this process that the command gets.
    """
    owner = os.getpid()
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        start_new_session=True,
        pass_fds=tuple(inherited),
        env={**os.environ, _ENDS_WITH_PARENT: "1"},
    )
    try:
        _set_limits(child.pid, limits)
        yield child
    finally:
        if os.getpid() == owner:  # a fork of this process ends without it
            _kill_group(child)
        if child.stdin is not None:
            with suppress(BrokenPipeError):
                child.stdin.close()


def _set_limits(process: int, limits: Limits) -> None:
    if sys.platform == "linux":
        import resource

        with suppress(ProcessLookupError):
            # what it allocates, not what it reserves: GPUs reserve far more than there is
            for kind, limit in (
                (resource.RLIMIT_DATA, limits.memory),
                (resource.RLIMIT_FSIZE, limits.file),
                (resource.RLIMIT_CORE, 1),  # a crash is reported, and leaves no core
            ):
                if limit:
                    _, hard = resource.prlimit(process, kind)
                    lowered = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
                    resource.prlimit(process, kind, (lowered, hard))


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            child.kill()
        else:
            os.killpg(child.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        child.wait(_KILLED)


def failure(code: int) -> str:
    """How a process failed, by its exit code, such as ``signal SIGSEGV``; empty on success."""
    if code >= 0:
        return f"exit code {code}" if code else ""
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
