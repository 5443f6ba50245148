"""How a plan begins."""

from __future__ import annotations

from typing import Any

_MAGIC = b"SIMPLAN1"
SIZE = len(_MAGIC)


def header(version: str, target: dict[str, Any]) -> bytes:
    """The first bytes of a plan of this version for this target."""
    return _MAGIC


def is_header(data: bytes) -> bool:
    """Whether a plan begins so."""
    return data == _MAGIC
