"""Reading an untrusted ONNX file: with checks, and without its weights."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from backends.contract import DeployError
from backends.files import file_type
from backends.onnx.external_data import UnsafeFileError, check_external_data
from backends.onnx.protobuf import ByteSource, GroupError, WireError
from backends.onnx.strip_weights import strip_weights

_PROTOBUF_BYTES = (1 << 31) - 1
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class OnnxFileError(DeployError):
    """A file that is missing or is no ONNX model."""


def read_without_weights(path: Path, inline_bytes: int = 1024) -> onnx.ModelProto:
    """A model without its weights, after a check of all files that it refers to.

    An initializer of more than ``inline_bytes`` raw bytes is returned as external data: location
    is the file's own name, offset and length are those of the bytes in the file. External data
    are relative to ``path.resolve().parent``. Everything else is as in the file. The weights are
    kept if the file has several hard links, since libraries refuse to read external data from
    it, and in the rare files with protobuf groups or several graphs, which protobuf merges.

    Args:
        path: the file.
        inline_bytes: the largest initializer that is kept.

    Raises:
        OnnxFileError: the file is missing, is no ONNX model, has a name with a line break, or a
            path that is not UTF-8.
        UnsafeFileError: the path is no regular file, or external data are no proper files of the
            model's own folder (``check_external_data``).
    """
    real = _resolve(path)
    _check_utf8(real)
    with _open(path, real) as (source, links):
        data = _stripped(path, source, real.name, inline_bytes) if links == 1 else None
        model = _parse(path, _read_all(path, source) if data is None else data)
        if not model.HasField("graph"):
            raise OnnxFileError(f"model '{path}' is not an ONNX file: it has no graph")
        _check_names(path, model.graph)
        check_external_data(model, real.parent, {real.name: source.size})
    return model


def _resolve(path: Path) -> Path:
    try:
        return Path(os.path.realpath(path, strict=True))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise OnnxFileError(f"model '{path}'", expected="an ONNX file", got="nothing") from error
    except (OSError, ValueError) as error:
        raise OnnxFileError(f"model '{path}' does not open: {error}") from error


def _check_utf8(path: Path) -> None:
    """Refuse a path that onnx cannot take, nor a file that refers to this one as its weights."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise OnnxFileError(f"model '{path}': its path is not UTF-8", do="Rename it.") from error


def _check_names(path: Path, graph: onnx.GraphProto) -> None:
    """Refuse names with line breaks, which could print lines of their own."""
    names = chain(
        (value.name for values in (graph.input, graph.output) for value in values),
        (name for node in graph.node for name in (node.name, *node.input, *node.output)),
    )
    if any("\n" in str(name) for name in names):  # bytes where a name is not UTF-8
        raise OnnxFileError(f"model '{path}' has a name with a line break", do="Rename it.")


@contextmanager
def _open(path: Path, real: Path) -> Iterator[tuple[ByteSource, int]]:
    # opening a FIFO or a device may block or have effects: check before and after
    try:
        _check_regular(path, real.lstat())
        file = os.open(real, _FLAGS)
    except OSError as error:
        raise OnnxFileError(f"model '{path}' does not open: {error}") from error
    try:
        state = os.fstat(file)
        _check_regular(path, state)
        yield ByteSource(file, state.st_size), state.st_nlink
    finally:
        os.close(file)


def _check_regular(path: Path, state: os.stat_result) -> None:
    if not stat.S_ISREG(state.st_mode):
        raise UnsafeFileError(
            f"model '{path}'", expected="a regular file", got=file_type(state.st_mode)
        )
    if not state.st_size:
        raise OnnxFileError(f"model '{path}' is not an ONNX file: it is empty")


def _stripped(path: Path, source: ByteSource, name: str, inline_bytes: int) -> bytes | None:
    try:
        return strip_weights(source, name, inline_bytes)
    except GroupError:
        return None
    except WireError as error:
        raise _not_onnx(path, error) from error


def _read_all(path: Path, source: ByteSource) -> bytes:
    _check_size(path, source.size)
    try:
        return source.read(0, source.size)
    except WireError as error:
        raise _not_onnx(path, error) from error


def _parse(path: Path, data: bytes) -> onnx.ModelProto:
    _check_size(path, len(data))
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise _not_onnx(path, error) from error
    return model


def _check_size(path: Path, size: int) -> None:
    if size > _PROTOBUF_BYTES:
        raise OnnxFileError(
            f"model '{path}', as far as protobuf has to read it",
            expected="less than 2 GiB",
            got=f"{size:,} bytes",
            do="Save its weights as external data.",
        )


def _not_onnx(path: Path, error: Exception) -> OnnxFileError:
    return OnnxFileError(f"model '{path}' is not an ONNX file: {error}")
