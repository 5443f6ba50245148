"""A worker as its campaign sees it: what it says, how it ended, and how to end it."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

from tests.fuzzing.watch import Watch
from tests.fuzzing.worker import Job, serve

_GRACE = 0.5  # seconds to write down where it hangs


class Child:
    """A forked worker; a context manager that ends it with everything that it started."""

    def __init__(self, job: Job, numbers: Sequence[int], watch: Watch) -> None:
        self._reader, writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._reader)
            serve(job, numbers, watch, writer)
        os.close(writer)
        self._lines: list[bytes] = [b""]
        self._code: int | None = None

    def next(self, seconds: float) -> dict[str, Any] | None:
        """The next message; nothing where the worker has ended.

        Raises:
            TimeoutError: it did not come in time.
        """
        end = time.monotonic() + seconds
        while len(self._lines) < 2:
            ready, _, _ = select.select([self._reader], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise TimeoutError
            data = os.read(self._reader, 1 << 16)
            if not data:
                return None
            self._lines += (self._lines.pop() + data).split(b"\n")
        message: dict[str, Any] = json.loads(self._lines.pop(0))
        return message

    def abort(self) -> None:
        """End it so that it writes down where it is."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGABRT)
        time.sleep(_GRACE)

    def code(self) -> int:
        """How it ended: a signal's number is negative. Ends it if it has not yet."""
        if self._code is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)
            self._code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return self._code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)  # its group may not be there yet
        self.code()
        os.close(self._reader)
