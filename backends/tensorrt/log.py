"""TensorRT's messages, kept for the texts of errors."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import tensorrt as trt

from backends.contract import DeployError

_KEPT = 5  # messages


class Log(trt.ILogger):
    """Keeps the last errors; TensorRT calls it from threads of its own."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._errors: deque[str] = deque(maxlen=_KEPT)

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        """Called by TensorRT."""
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self._errors.append(msg.strip())

    def take(self) -> str:
        """The errors since the last call, in one line."""
        text = "; ".join(self._errors)
        self._errors.clear()
        return text or "no reason given"


@contextmanager
def creation_errors(log: Log, error: type[DeployError]) -> Iterator[None]:
    """Raise ``error`` where TensorRT creates no object, which its binding reports as TypeError."""
    try:
        yield
    except TypeError as cause:
        raise error(f"TensorRT does not start: {log.take()}") from cause
