"""What TensorRT calls back, and loggers among it."""

from __future__ import annotations

import sys
import traceback
from typing import Any

from ._enums import Ordered


class CalledBack(type):
    """Of classes that users derive from: their ``__init__`` has to call ours."""

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        made = super().__call__(*arguments, **named)
        if not getattr(made, "_initialised", False):
            raise TypeError(f"{cls.__name__}.__init__() must be called when overriding __init__")
        return made


def call_back(user: Any, method: str, *arguments: Any) -> Any:
    """Call a user's method; what it raises is printed, and counts as nothing returned."""
    try:
        return getattr(user, method)(*arguments)
    except Exception:  # noqa: BLE001 - whatever users raise
        print(f"[ERROR] Exception caught in {method}():", file=sys.stderr)
        traceback.print_exc()
        return None


class _Severity(Ordered):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


_Severity.__name__ = "Severity"


class ILogger(metaclass=CalledBack):
    """To be derived from."""

    Severity = _Severity
    INTERNAL_ERROR = _Severity.INTERNAL_ERROR
    ERROR = _Severity.ERROR
    WARNING = _Severity.WARNING
    INFO = _Severity.INFO
    VERBOSE = _Severity.VERBOSE

    def __init__(self) -> None:
        self._initialised = True

    def log(self, severity: _Severity, msg: str) -> None:
        """Take a message."""
        print("[ERROR] log() is to be written by whoever derives from this", file=sys.stderr)


class Logger(ILogger):
    """Prints what is severe enough."""

    def __init__(self, min_severity: _Severity = _Severity.WARNING) -> None:
        super().__init__()
        self._least = min_severity

    @property
    def min_severity(self) -> _Severity:
        return self._least

    @min_severity.setter
    def min_severity(self, severity: _Severity) -> None:
        self._least = severity

    def log(self, severity: _Severity, msg: str) -> None:
        """Print a message."""
        if severity <= self._least:
            print(f"[TRT] [{severity.name[0]}] {msg}", file=sys.stderr)


def say(logger: ILogger, text: str, severity: _Severity = _Severity.ERROR) -> None:
    """Tell the user's logger."""
    call_back(logger, "log", severity, text)


def complain(logger: ILogger, where: str, code: int, kind: str, text: str) -> None:
    """Tell it of an error, in TensorRT's manner."""
    say(logger, f"{where}: Error Code {code}: {kind} ({text})")
