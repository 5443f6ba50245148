"""Failures on request: ``SIM_TENSORRT_FAIL=execute:3,build:1`` fails the third and the first."""

from __future__ import annotations

import os
import threading
from collections import Counter

from ._version import VARIABLES

_calls: Counter[str] = Counter()
_lock = threading.Lock()


def due(what: str) -> bool:
    """Count one more call of this process; whether it is to fail."""
    with _lock:
        _calls[what] += 1
        number = _calls[what]
    asked = os.environ.get(f"{VARIABLES}_FAIL", "").split(",")
    return f"{what}:{number}" in (part.strip() for part in asked)
