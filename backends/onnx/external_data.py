"""The check that a model's external data are proper files in its own folder."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import onnx

from backends.contract import DeployError
from backends.files import file_type

_COPY = "Copy the file into the model's folder."
_SAVE = "Save the model again with an exporter that you trust."
_MAX_INT64 = (1 << 63) - 1

_BITS_OF = {
    2: "UINT2 INT2",
    4: "UINT4 INT4 FLOAT4E2M1",
    6: "FLOAT6E2M3 FLOAT6E3M2",
    8: "BOOL UINT8 INT8 FLOAT8E4M3FN FLOAT8E4M3FNUZ FLOAT8E5M2 FLOAT8E5M2FNUZ FLOAT8E8M0",
    16: "UINT16 INT16 FLOAT16 BFLOAT16",
    32: "UINT32 INT32 FLOAT",
    64: "UINT64 INT64 DOUBLE COMPLEX64",
    128: "COMPLEX128",
}

_BITS = {name: bits for bits, names in _BITS_OF.items() for name in names.split()}
_DTYPES: dict[int, str] = {number: name for name, number in onnx.TensorProto.DataType.items()}


class UnsafeFileError(DeployError):
    """A file that no library should open, or a tensor whose bytes are not in its file."""


def check_external_data(
    model: onnx.ModelProto, folder: Path, known: Mapping[str, int] | None = None
) -> None:
    """Refuse a model unless all its external data are regular files below ``folder``.

    All tensors of the model are checked, also those of nested graphs. No file is opened. Keys
    other than location, offset and length are ignored.

    Args:
        model: the model; its external data are not loaded.
        folder: of the model. Its own path may have links; paths below it may not.
        known: sizes in bytes of files that need no check, by their location.

    Raises:
        UnsafeFileError: a location that is no plain relative path, or not that of a regular file
            with a single hard link; an offset, length, shape or dtype that does not fit the file.
    """
    sizes = dict(known or {})
    for tensor in _tensors(model):
        if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
            _check(tensor, folder, sizes)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of the model, without recursion: graphs nest."""
    scopes: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    for training in model.training_info:
        scopes += [training.initialization, training.algorithm]
    while scopes:
        scope = scopes.pop()
        if isinstance(scope, onnx.GraphProto):
            yield from scope.initializer
            for sparse in scope.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        else:
            for attribute in scope.attribute_proto:
                yield from _attribute(attribute, scopes)
        for node in scope.node:
            for attribute in node.attribute:
                yield from _attribute(attribute, scopes)


def _attribute(
    attribute: onnx.AttributeProto, scopes: list[onnx.GraphProto | onnx.FunctionProto]
) -> Iterator[onnx.TensorProto]:
    """The tensors of an attribute, whatever its type field; its graphs go to ``scopes``."""
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    if attribute.HasField("sparse_tensor"):
        yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
    for sparse in attribute.sparse_tensors:
        yield from (sparse.values, sparse.indices)
    if attribute.HasField("g"):
        scopes.append(attribute.g)
    scopes.extend(attribute.graphs)


def _check(tensor: onnx.TensorProto, folder: Path, sizes: dict[str, int]) -> None:
    what = f"external data of tensor '{tensor.name}'"
    # protobuf returns bytes where a text is not UTF-8, which libraries do not expect
    if not isinstance(tensor.name, str):
        raise UnsafeFileError(f"{what} have a name that is not UTF-8", do=_SAVE)
    entries: dict[str, str] = {}
    for entry in tensor.external_data:
        if entry.key in entries:
            raise UnsafeFileError(f"{what} have two values of '{entry.key}'", do=_SAVE)
        entries[entry.key] = entry.value
    location = entries.get("location", "")
    if location not in sizes:
        sizes[location] = _file_size(f"{what} at {_quoted(location)}", folder, location)
    offset = _number(what, "offset", entries.get("offset", "0"))
    byte_size = _byte_size(what, tensor)
    length = _number(what, "length", entries.get("length", str(byte_size)))
    if length != byte_size:
        raise UnsafeFileError(
            f"length of {what}", expected=f"{byte_size} bytes", got=f"{length}", do=_SAVE
        )
    if offset + length > sizes[location]:
        raise UnsafeFileError(
            f"{what} end at byte {offset + length}",
            expected=f"an end within the {sizes[location]} bytes of {_quoted(location)}",
            do="Copy the whole file again, or save the model again.",
        )


def _file_size(what: str, folder: Path, location: str) -> int:
    if fault := _location_fault(location):
        raise UnsafeFileError(
            what, expected="a path relative to the model's folder", got=fault, do=_COPY
        )
    *parents, last = PurePosixPath(location).parts or (".",)
    path = folder
    try:
        for part in parents:
            path /= part
            _check_type(what, path.lstat().st_mode, stat.S_IFDIR)
        state = (path / last).lstat()
    except OSError as error:
        got = f"{error.strerror} ({path})"
        raise UnsafeFileError(what, expected="a regular file", got=got, do=_COPY) from error
    _check_type(what, state.st_mode, stat.S_IFREG)
    if state.st_nlink > 1:
        got = f"one of {state.st_nlink} hard links to a file"
        raise UnsafeFileError(what, expected="a file of its own", got=got, do=_COPY)
    return state.st_size


def _check_type(what: str, mode: int, expected: int) -> None:
    if stat.S_IFMT(mode) != expected:
        raise UnsafeFileError(what, expected=file_type(expected), got=file_type(mode), do=_COPY)


def _location_fault(location: str) -> str:
    if not isinstance(location, str) or not location:
        return "none"
    if location[0] in "/\\" or re.match("[A-Za-z]:", location):
        return "an absolute path"
    if "\\" in location:
        return "a backslash in it"
    # engines use '*' in locations that are memory addresses
    if re.search(r"[\x00-\x1f\x7f*]", location):
        return "a character that no file name should have"
    parts = location.split("/")
    if parts[-1] in ("", "."):
        return "a path of a folder"
    return "'..' in it" if ".." in parts else ""


def _number(what: str, key: str, text: str) -> int:
    # the digits are counted first: int() of a million digits is slow
    digits = isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 20
    if not digits or int(text) > _MAX_INT64:
        raise UnsafeFileError(
            f"{key} of {what}", expected=f"digits, up to {_MAX_INT64}", got=_quoted(text), do=_SAVE
        )
    return int(text)


def _byte_size(what: str, tensor: onnx.TensorProto) -> int:
    """The bytes that the tensor's dtype and shape need."""
    dtype = _DTYPES.get(tensor.data_type, str(tensor.data_type))
    if dtype not in _BITS:
        raise UnsafeFileError(f"{what}", expected="a dtype of fixed size", got=dtype, do=_SAVE)
    bits, empty = _BITS[dtype], False
    for dim in tensor.dims:
        # stops early: the product of many dims is slow
        if dim < 0 or bits > 8 * _MAX_INT64:
            break
        empty, bits = empty or not dim, bits * max(dim, 1)
    else:
        if bits <= 8 * _MAX_INT64:
            return 0 if empty else -(-bits // 8)
    shape = _quoted(", ".join(map(str, tensor.dims[:8])))
    raise UnsafeFileError(f"shape of {what}", expected="a possible one", got=shape, do=_SAVE)


def _quoted(text: str) -> str:
    return repr(text[:80])
