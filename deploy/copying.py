"""Weights from one file to another, without holding them in memory."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import onnx_ir as ir

_ALIGN = 64  # so that engines can map a weight where it lies
_CHUNK = 1 << 20


class Target:
    """A new file of weights; one that is left by an error is removed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack = ExitStack()
        self._file = self._stack.enter_context(path.open("wb"))
        self._sources: dict[Path, int] = {}
        self._end = 0

    def take(self, tensor: ir.TensorProtocol) -> ir.ExternalTensor:
        """Append a tensor; the result is the same tensor in this file."""
        offset = -(-self._end // _ALIGN) * _ALIGN
        self._end = offset + tensor.nbytes
        self._file.seek(offset)
        if isinstance(tensor, ir.ExternalTensor):
            source = self._source(Path(tensor.path))
            _copy(source, tensor.offset or 0, self._file.fileno(), tensor.nbytes)
        else:
            self._file.write(tensor.tobytes())
            self._file.flush()
        return ir.ExternalTensor(
            self._path.name,
            offset,
            tensor.nbytes,
            tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()),
            name=tensor.name or "",
            base_dir=self._path.parent,
        )

    def _source(self, path: Path) -> int:
        if path not in self._sources:
            file = self._stack.enter_context(path.open("rb", buffering=0))
            self._sources[path] = file.fileno()
        return self._sources[path]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stack.close()
        if kind is not None:
            self._path.unlink()


def _copy(source: int, start: int, target: int, count: int) -> None:
    """Copy bytes to the target's own position, in the kernel where it can."""
    done = 0
    if hasattr(os, "copy_file_range"):
        with suppress(OSError):  # not between these two file systems
            while done < count and (
                moved := os.copy_file_range(source, target, count - done, start + done)
            ):
                done += moved
    while done < count:
        block = os.pread(source, min(_CHUNK, count - done), start + done)
        if not block:
            raise OSError(f"the file of the weights ends {count - done} bytes too early")
        done += os.write(target, block)
