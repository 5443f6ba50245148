"""Arrays of an ``.npz`` file by the place of their bytes, so that no program needs its format."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np

from backends.contract import DeployError
from deploy.handover.facts import StoredArray

_LOCAL_HEADER = struct.Struct("<26xHH")  # of a member of a zip file: lengths of name and extra


def stored_arrays(root: Path, file: str, prefix: str = "") -> tuple[StoredArray, ...]:
    """The arrays of a file, in its order.

    Args:
        root: the bundle.
        file: of the bundle.
        prefix: in front of the names of the arrays.

    Raises:
        DeployError: an array is compressed, or its bytes are not little-endian in C order.
    """
    with ZipFile(root / file) as archive:
        members = archive.infolist()
    with (root / file).open("rb") as data:
        return tuple(_stored_array(data, member, file, prefix) for member in members)


def _stored_array(data: BinaryIO, member: ZipInfo, file: str, prefix: str) -> StoredArray:
    if member.compress_type != ZIP_STORED:
        raise _no_place(file, member, "a compressed one")
    begin = _content(data, member)
    data.seek(begin)
    np.lib.format.read_magic(data)
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(data)
    if is_fortran or dtype.byteorder == ">":
        raise _no_place(file, member, "another order")
    offset = data.tell()
    name = prefix + member.filename.removesuffix(".npy")
    size = begin + member.file_size - offset
    return StoredArray(name, file, offset, size, dtype.name, tuple(shape))


def _no_place(file: str, member: ZipInfo, got: str) -> DeployError:
    expected = "one that is not compressed, little-endian, in C order"
    return DeployError(f"array '{member.filename}' of '{file}'", expected=expected, got=got)


def _content(data: BinaryIO, member: ZipInfo) -> int:
    """Where the content of a member begins."""
    data.seek(member.header_offset)
    name, extra = _LOCAL_HEADER.unpack(data.read(_LOCAL_HEADER.size))
    return member.header_offset + _LOCAL_HEADER.size + int(name) + int(extra)
