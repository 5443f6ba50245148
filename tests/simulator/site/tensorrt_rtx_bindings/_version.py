"""Which TensorRT for RTX the double is."""

from __future__ import annotations

import os

VARIABLES = "SIM_TENSORRT_RTX"  # how the names of its environment variables begin
VERSION = os.environ.get(f"{VARIABLES}_VERSION", "1.7.1.116")


def by_major(ten: int, eleven: int) -> int:
    """A number that TensorRT for RTX shares with TensorRT 11."""
    return eleven
