"""The builder's measurements."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field

from . import _cuda as cuda
from ._memory import IHostMemory
from ._version import VERSION

_MAGIC = b"SIMTIMES"
_DIGEST = 32  # bytes


@dataclass
class Timings:
    """What was measured, and where."""

    version: str
    device: str
    entries: dict[str, int] = field(default_factory=dict)  # a build's hash -> its time

    @classmethod
    def here(cls) -> Timings:
        """None of this version on this device."""
        number = cuda.device()
        major, minor = cuda.capability(number)
        return cls(VERSION, f"{cuda.name(number)} {major}.{minor}")

    @classmethod
    def read(cls, data: bytes) -> Timings:
        """Those in a file.

        Raises:
            ValueError: it is damaged.
        """
        content = data[len(_MAGIC) + _DIGEST :]
        if data != _MAGIC + hashlib.sha256(content).digest() + content:
            raise ValueError("Serialization assertion cache->header.checksum == checksum failed.")
        return cls(**json.loads(content))

    def write(self) -> bytes:
        content = json.dumps(asdict(self)).encode()
        return _MAGIC + hashlib.sha256(content).digest() + content

    def mismatch(self, other: Timings, ignore_device: bool) -> str:
        """Why those of another place cannot be used with these, or nothing."""
        if self.version != other.version:
            return f"the timing cache is of TensorRT {other.version}"
        if self.device != other.device and not ignore_device:
            return f"the timing cache is of another device, {other.device}"
        return ""


class ITimingCache:
    """One entry for each build of a graph, with a configuration, that it was attached to."""

    def __init__(self, timings: Timings) -> None:
        self._timings = timings

    def serialize(self) -> IHostMemory:
        return IHostMemory(self._timings.write())

    def combine(self, input_cache: ITimingCache, ignore_mismatch: bool) -> bool:
        other = input_cache._timings
        if self._timings.mismatch(other, ignore_mismatch):
            return False
        self._timings.entries = {**other.entries, **self._timings.entries}
        return True

    def reset(self) -> bool:
        self._timings.entries.clear()
        return True
