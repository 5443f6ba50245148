"""How an engine begins: with what decides where it runs, in as many bytes as the real one has."""

from __future__ import annotations

from typing import Any

SIZE = 64
_MAGIC = "SIMRTX01"


def header(version: str, target: dict[str, Any]) -> bytes:
    """The first bytes of an engine of this version for this target."""
    capabilities = [f"{major}.{minor}" for major, minor in target["capabilities"]]
    return " ".join([_MAGIC, version, *capabilities]).encode().ljust(SIZE)


def is_header(data: bytes) -> bool:
    """Whether an engine begins so."""
    return len(data) == SIZE and data.startswith(f"{_MAGIC} ".encode())


def read_header(data: bytes) -> tuple[str, list[tuple[int, int]]]:
    """The version and the compute capabilities in a header; without any it is portable."""
    _, version, *capabilities = data.decode().split()
    pairs = (text.split(".") for text in capabilities)
    return version, [(int(major), int(minor)) for major, minor in pairs]
