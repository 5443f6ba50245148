"""Which TensorRT the double is."""

from __future__ import annotations

import os

VARIABLES = "SIM_TENSORRT"  # how the names of its environment variables begin
VERSION = os.environ.get(f"{VARIABLES}_VERSION", "11.4.0.106")
MAJOR = int(VERSION.split(".")[0])


def numbers(version: str) -> tuple[int, ...]:
    """``11.4.0.106`` as numbers, for comparing."""
    return tuple(int(part) for part in version.split("."))


def by_major(ten: int, eleven: int) -> int:
    """A number that is not the same in TensorRT 10 and 11."""
    return ten if MAJOR < 11 else eleven
