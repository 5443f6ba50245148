"""Arrays in memory that two processes share: one of them writes, and the other reads."""

from __future__ import annotations

import math
import mmap
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import NamedTuple, Self

import numpy as np

from backends.contract import Array, Tensors
from deploy.runtime.bundle.manifest import DTYPES

STATUS_BYTES = 256  # at the start of the memory
_ALIGNMENT = 64  # of an array; what vector instructions read at once
_LEAST_BYTES = 1 << 16


class ArrayHeader(NamedTuple):
    """Where an array lies in the shared memory, and what it is."""

    name: str
    dtype: str
    shape: Sequence[int]
    offset: int


class SharedArrays:
    """Arrays by name in a file that exists in memory alone, and grows as needed.

    The memory is released when both processes have closed the file or ended. It cannot be made
    smaller, so that a process cannot take it away while the other reads.

    Attributes:
        file: the descriptor of the file, which the other process inherits.
    """

    def __init__(self, file: int) -> None:
        self.file = file
        self._memory = mmap.mmap(file, os.fstat(file).st_size)

    @classmethod
    def create(cls) -> SharedArrays:
        """Memory for a new process to inherit."""
        if sys.platform == "linux":
            import fcntl

            file = os.memfd_create("arrays", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(file, _LEAST_BYTES)
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        else:
            with tempfile.TemporaryFile() as unnamed:
                file = os.dup(unnamed.fileno())
            os.ftruncate(file, _LEAST_BYTES)
        return cls(file)

    def write(self, arrays: Tensors) -> list[ArrayHeader]:
        """Copy arrays into the memory; those of the last call are overwritten."""
        offset, headers = STATUS_BYTES, []
        for name, array in arrays.items():
            headers.append(ArrayHeader(name, array.dtype.name, array.shape, offset))
            offset += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        if offset > len(self._memory):
            os.ftruncate(self.file, 2 * offset)
            self._memory = mmap.mmap(self.file, 2 * offset)
        for header, array in zip(headers, arrays.values(), strict=True):
            self._view(header, array.dtype)[...] = array
        return headers

    def read(self, headers: Sequence[ArrayHeader]) -> dict[str, Array]:
        """The arrays, as views that the next call of ``write`` overwrites.

        Raises:
            ValueError: a header that does not fit the memory, or of a dtype that no tensor has.
        """
        return {header.name: self._checked_view(header) for header in headers}

    def _checked_view(self, header: ArrayHeader) -> Array:
        if header.dtype not in DTYPES or min(header.shape, default=0) < 0 or header.offset < 0:
            raise ValueError("a header of no array")
        dtype = numpy_dtype(header.dtype)
        end = header.offset + math.prod(header.shape) * dtype.itemsize
        if end > len(self._memory):
            size = os.fstat(self.file).st_size
            if end > size:
                raise ValueError("a header beyond the memory")
            self._memory = mmap.mmap(self.file, size)
        return self._view(header, dtype)

    def _view(self, header: ArrayHeader, dtype: np.dtype[np.generic]) -> Array:
        return np.ndarray(tuple(header.shape), dtype, self._memory, header.offset)

    def write_status(self, text: str) -> None:
        """Keep a short text for the other process, also for when this one has ended."""
        data = text.encode(errors="replace")[: STATUS_BYTES - 1]
        self._memory[: len(data) + 1] = data + b"\0"

    def read_status(self) -> str:
        """The text of the other process."""
        return self._memory[:STATUS_BYTES].split(b"\0", 1)[0].decode(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file; arrays that still are in use keep the memory."""
        os.close(self.file)


def numpy_dtype(name: str) -> np.dtype[np.generic]:
    """The dtype of a tensor; NumPy has ``bfloat16`` from a library that defines it.

    Raises:
        TypeError: there is no such dtype here.
    """
    if name == "bfloat16":
        with suppress(ImportError):
            import_module("ml_dtypes")
    return np.dtype(name)
