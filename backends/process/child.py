"""A child process that cannot take its parent down, nor outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

_WATCHED = "DEPLOY_ENDS_WITH_PARENT"


@dataclass(frozen=True)
class Limits:
    """What a child may take.

    Attributes:
        seconds: until it is ended.
        memory: bytes that it and each process it starts may allocate; 0 sets no limit.
        file: bytes of a file that they write; 0 sets no limit.
    """

    seconds: float
    memory: int = 0
    file: int = 0


def run_limited(
    command: Sequence[str],
    limits: Limits,
    output: IO[str],
    told: str = "",
) -> str:
    """Run a command to its end, together with everything that it starts.

    Its group of processes is gone when this returns or raises, also after Ctrl-C; and it ends when
    this process is killed, where the command calls ``end_with_parent``.

    Args:
        command: its words.
        limits: memory and files are limited on Linux alone.
        output: takes what it prints and complains.
        told: a line for its standard input.

    Returns:
        How it failed, such as ``signal SIGSEGV``; nothing where it did not.
    """
    with _started(command, limits, output) as child:
        if told and child.stdin is not None:
            with suppress(BrokenPipeError):
                child.stdin.write(f"{told}\n".encode())
                child.stdin.flush()
        try:
            code = child.wait(limits.seconds)
        except subprocess.TimeoutExpired:
            return f"no end within {limits.seconds:g} s"
    return _ending(code)


def end_with_parent() -> None:
    """In a child: end this process and all that it started when the parent is no more.

    The parent keeps the standard input open without writing to it.
    """
    if _WATCHED in os.environ and sys.platform != "win32":
        threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    if sys.platform != "win32":
        while os.read(0, 4096):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)


@contextmanager
def _started(
    command: Sequence[str], limits: Limits, output: IO[str]
) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        start_new_session=True,
        env={**os.environ, _WATCHED: "1"},
    )
    try:
        _limit(child.pid, limits)
        yield child
    finally:
        _end(child)
        if child.stdin is not None:
            with suppress(BrokenPipeError):
                child.stdin.close()


def _limit(process: int, limits: Limits) -> None:
    if sys.platform == "linux":
        import resource

        with suppress(ProcessLookupError):
            # what it allocates, not what it reserves: GPUs reserve far more than there is
            for kind, bound in (
                (resource.RLIMIT_DATA, limits.memory),
                (resource.RLIMIT_FSIZE, limits.file),
                (resource.RLIMIT_CORE, 1),  # a crash is reported, and leaves no core
            ):
                if bound:
                    _, most = resource.prlimit(process, kind)
                    held = bound if most == resource.RLIM_INFINITY else min(bound, most)
                    resource.prlimit(process, kind, (held, most))


def _end(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            child.kill()
        else:
            os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}" if code else ""
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
