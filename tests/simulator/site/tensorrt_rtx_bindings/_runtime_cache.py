"""The kernels that were compiled for engines on this GPU."""

from __future__ import annotations

import hashlib
import json
import threading

from . import _cuda as cuda
from ._log import ILogger, complain
from ._memory import IHostMemory
from ._version import VERSION

_MAGIC = b"SIMKERNL"
_DIGEST = 32  # bytes


class IRuntimeCache:
    """One entry for each kernel, which says what it was compiled for."""

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger
        self._kernels: set[str] = set()
        self._lock = threading.Lock()

    def serialize(self) -> IHostMemory:
        with self._lock:
            kernels = sorted(self._kernels)
        content = json.dumps({"environment": _environment(), "kernels": kernels}).encode()
        return IHostMemory(_MAGIC + hashlib.sha256(content).digest() + content)

    def deserialize(self, blob: bytes) -> bool:
        """Take what another one has serialized, in the same environment."""
        data = bytes(blob)
        content = data[len(_MAGIC) + _DIGEST :]
        if data != _MAGIC + hashlib.sha256(content).digest() + content:
            return self._refuse("the runtime cache is corrupt")
        found = json.loads(content)
        if found["environment"] != _environment():
            return self._refuse(f"the runtime cache is of {found['environment']}")
        with self._lock:
            self._kernels |= set(found["kernels"])
        return True

    def reset(self) -> bool:
        with self._lock:
            self._kernels.clear()
        return True

    def _add(self, kernel: str) -> bool:
        """Whether it was not there yet."""
        with self._lock:
            new = kernel not in self._kernels
            self._kernels.add(kernel)
        return new

    def _refuse(self, text: str) -> bool:
        complain(self._logger, "IRuntimeCache::deserialize", 3, "API Usage Error", text)
        return False


def _environment() -> list[str]:
    """What kernels depend on."""
    device = cuda.device()
    return [VERSION, cuda.name(device), ".".join(map(str, cuda.capability(device)))]
