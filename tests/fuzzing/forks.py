"""What the product does in a new Python, done in a fork of the worker: far less time per case."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, NoReturn

from backends.process.child import Limits
from deploy.graph import simplification
from deploy.runtime.isolation import trial

_STEP = 0.002


def use_forks() -> None:
    """From now on, in this process."""
    for module in (trial, simplification):
        module.run_limited = run_in_a_fork


def run_in_a_fork(command: Sequence[str], limits: Limits, output: IO[str], told: str = "") -> str:
    """As ``run_limited`` of ``backends.process.child``, of ``python -P -c CODE ARGUMENTS``."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        _be(command[3], command[4:], limits, output, reader)
    os.close(reader)
    with suppress(BrokenPipeError):  # it has ended already
        os.write(writer, f"{told}\n".encode())
    os.close(writer)
    return _ending(child, limits.seconds)


def _ending(child: int, seconds: float) -> str:
    end = time.monotonic() + seconds
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return f"no end within {seconds:g} s"
        time.sleep(_STEP)
    code = os.waitstatus_to_exitcode(ended[1])
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}" if code else ""


def _be(
    code: str, arguments: Sequence[str], limits: Limits, output: IO[str], told: int
) -> NoReturn:
    ended = 1
    try:
        for file, standard in ((told, 0), (output.fileno(), 1), (output.fileno(), 2)):
            os.dup2(file, standard)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.argv = ["-c", *arguments]
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (min(limits.memory, most), most))
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        ended = 0
    except BaseException:  # noqa: BLE001 - as the end of a process of its own
        traceback.print_exc()
    finally:
        os._exit(ended)
