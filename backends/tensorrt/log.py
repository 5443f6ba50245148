"""What TensorRT says: kept for errors, shown never."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import tensorrt as trt

from backends.contract import DeployError

_KEPT = 5  # lines


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
        said = "; ".join(self._errors)
        self._errors.clear()
        return said or "no reason given"


@contextmanager
def started(log: Log, error: type[DeployError]) -> Iterator[None]:
    """Turn what pybind says of an object that TensorRT does not make into an error of ours."""
    try:
        yield
    except TypeError as fault:
        raise error(f"TensorRT does not start: {log.take()}") from fault
