"""Mutators of ``.npz``: what an array says of itself, and the zip around it."""

from __future__ import annotations

import io
import struct
import zipfile

from tests.fuzzing.draw import Draw
from tests.fuzzing.octets import mutated

_DTYPES = (
    "<f4",
    "<f8",
    "|O",
    "|V0",
    "<U99999999",
    "|S0",
    "<M8[ns]",
    ">f4",
    "|b1",
    "<f2",
    "<i8",
    "x",
)
_SHAPES = (
    "()",
    "(0,)",
    "(1, 2)",
    "(-1,)",
    "(4294967296, 4294967296)",
    "(1000000000000,)",
    "(True,)",
    "[1]",
)


def mutated_npz(draw: Draw, data: bytes, others: list[bytes]) -> bytes:
    """An ``.npz`` after some changes of its members, or of its bytes."""
    if draw.maybe(0.25):
        return mutated(draw, data, others)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    name = draw.one(sorted(members))
    action = draw.number(0, 5)
    if action == 0:
        del members[name]
    elif action == 1:
        new = draw.one(
            ["input/x", "output/y.npy", "input/.npy", "x" * 300 + ".npy", "../x.npy", "input/x.txt"]
        )
        members[new] = members.pop(name)
    elif action == 2:
        members[name] = mutated(draw, members[name], [])
    else:
        members[name] = _header(draw, members[name])
    target = io.BytesIO()
    with zipfile.ZipFile(
        target, "w", draw.one([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    ) as archive:
        for path, held in members.items():
            archive.writestr(zipfile.ZipInfo(path), held)
    return target.getvalue()


def _header(draw: Draw, array: bytes) -> bytes:
    """Another dtype or shape over the same bytes, or another text altogether."""
    dtype, shape = draw.one(_DTYPES), draw.one(_SHAPES)
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    if draw.maybe(0.2):
        text = draw.one(
            [
                "{}",
                "[" * 5000,
                "x" * 20_000,
                "{'descr': [('a', '<f4')], 'fortran_order': 1, 'shape': ()}",
                "1" * 9000,
            ]
        )
    body = array[10 + int.from_bytes(array[8:10], "little") :]
    header = f"{text}\n".encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + body
