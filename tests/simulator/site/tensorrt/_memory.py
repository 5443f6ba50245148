"""Memory of the host and of a device."""

from __future__ import annotations

import sys
import weakref

from . import _cuda as cuda
from ._enums import DataType
from ._log import ILogger, complain


class IHostMemory(bytes):
    """Bytes; the real one has the buffer protocol only."""

    @property
    def nbytes(self) -> int:
        return len(self)

    @property
    def dtype(self) -> DataType:
        return DataType.INT8


class Block:
    """Device memory of the current context; freed when nothing refers to it any more."""

    def __init__(self, size: int, logger: ILogger) -> None:
        """Raises ``CudaError`` where there is not so much."""
        pointer = cuda.allocate(max(size, 1))
        # at exit the context may be gone, and its memory with it
        weakref.finalize(self, _free, cuda.current(), pointer, logger).atexit = False


def _free(context: int, pointer: int, logger: ILogger) -> None:
    try:
        cuda.free(context, pointer)
    except cuda.CudaError as error:
        print(f"[double of TensorRT] cannot free device memory: {error}", file=sys.stderr)
        complain(logger, "~Block", 1, "Cuda Runtime", str(error))
