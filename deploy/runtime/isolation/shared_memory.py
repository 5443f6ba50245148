"""Messages in memory that two processes share: arrays by name, and further values as JSON."""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple, Self

import numpy as np

from backends.contract import Array, Tensors
from deploy.runtime.bundle.manifest import DTYPES

PLACE = struct.Struct("<QQ")
"""Where a message lies: offset and length in bytes of its JSON text, which is behind its arrays."""

_STATUS_BYTES = 256  # at the start of the memory
_ALIGNMENT = 64  # of an array; what vector instructions read at once
_LEAST_BYTES = 1 << 16
_MOST_TEXT = 64 << 20  # bytes of the JSON text; a manifest is smaller

Values = Mapping[str, Any]


class Message(NamedTuple):
    """Arrays by name, and values by name, such as parameters, results and errors."""

    arrays: Tensors
    values: Values


class SharedMemory:
    """Memory for one message, which one process writes and the other reads.

    It is a file that exists in memory alone, and grows as needed. It is released when both
    processes have closed it or ended, and cannot be made smaller, so that a process cannot take
    away what the other reads.

    Args:
        file: the descriptor of the file.

    Attributes:
        file: likewise; the other process inherits it.
    """

    def __init__(self, file: int) -> None:
        self.file = file
        self._memory = mmap.mmap(file, os.fstat(file).st_size)

    @classmethod
    def create(cls) -> SharedMemory:
        """Memory for a new process to inherit."""
        if sys.platform == "linux":
            import fcntl

            file = os.memfd_create("messages", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(file, _LEAST_BYTES)
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        else:
            with tempfile.TemporaryFile() as unnamed:
                file = os.dup(unnamed.fileno())
            os.ftruncate(file, _LEAST_BYTES)
        return cls(file)

    def write(self, message: Message) -> bytes:
        """Copy a message into the memory, in the place of the last one.

        Returns:
            Its place, for ``read``.
        """
        offset, headers = _STATUS_BYTES, []
        for name, array in message.arrays.items():
            headers.append((name, _name(array.dtype), array.shape, offset))
            offset += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        text = json.dumps([headers, message.values]).encode()
        end = offset + len(text)
        if end > len(self._memory):
            os.ftruncate(self.file, 2 * end)
            self._memory = mmap.mmap(self.file, 2 * end)
        for (_, _, shape, begin), array in zip(headers, message.arrays.values(), strict=True):
            np.ndarray(shape, array.dtype, self._memory, begin)[...] = array
        self._memory[offset:end] = text
        return PLACE.pack(offset, len(text))

    def read(self, place: bytes) -> Message:
        """The message; its arrays are views that the next ``write`` overwrites.

        Args:
            place: what ``write`` returned in the other process.

        Raises:
            ValueError: there is no message, or one whose arrays do not lie in the memory.
        """
        offset, length = PLACE.unpack(place)
        if length > _MOST_TEXT:
            raise ValueError("a message that is too long")
        self._map(offset + length)
        try:
            headers, values = json.loads(self._memory[offset : offset + length])
            arrays = {name: self._view(*header) for name, *header in headers}
        except (TypeError, RecursionError) as error:
            raise ValueError("a message of another form") from error
        if not isinstance(values, dict):
            raise ValueError("a message without values")
        return Message(arrays, values)

    def _view(self, dtype: str, shape: list[int], offset: int) -> Array:
        if dtype not in DTYPES or min(shape, default=0) < 0 or offset < 0:
            raise ValueError("an array of another kind")
        kind = numpy_dtype(dtype)
        self._map(offset + math.prod(shape) * kind.itemsize)
        return np.ndarray(shape, kind, self._memory, offset)

    def _map(self, end: int) -> None:
        """Map what the other process has added to the file."""
        if end > len(self._memory):
            size = os.fstat(self.file).st_size
            if end > size:
                raise ValueError("a message beyond the memory")
            self._memory = mmap.mmap(self.file, size)

    def write_status(self, text: str) -> None:
        """Keep a short text for the other process, also for when this one has ended."""
        data = text.encode(errors="replace")[: _STATUS_BYTES - 1]
        self._memory[: len(data) + 1] = data + b"\0"

    def read_status(self) -> str:
        """The text of the other process."""
        return self._memory[:_STATUS_BYTES].split(b"\0", 1)[0].decode(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file; arrays that still are in use keep the memory."""
        os.close(self.file)


@cache
def _name(dtype: np.dtype[np.generic]) -> str:
    """Its name, which NumPy composes anew each time."""
    return dtype.name


@cache
def numpy_dtype(name: str) -> np.dtype[np.generic]:
    """The dtype of a tensor; NumPy has ``bfloat16`` from a library that defines it.

    Raises:
        TypeError: there is no such dtype here.
    """
    if name == "bfloat16":
        with suppress(ImportError):
            import_module("ml_dtypes")
    return np.dtype(name)
