"""Mutators of pictures: PNG's chunks with their checksums, and bytes for every format."""

from __future__ import annotations

import struct
import zlib

from tests.fuzzing.draw import Draw
from tests.fuzzing.octets import magic_integer, mutated

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SIZES = (0, 1, 2, 16, 255, 1000, 20_000, 65_535, 65_536, 1 << 20, (1 << 31) - 1, 1 << 31)
_KINDS = (
    b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"iCCP", b"zTXt", b"iTXt",
    b"tEXt", b"eXIf", b"acTL", b"fcTL", b"fdAT", b"pHYs", b"sRGB", b"\0\0\0\0", b"ABCD",
)  # fmt: skip

Chunks = list[tuple[bytes, bytes]]


def mutated_picture(draw: Draw, data: bytes, others: list[bytes]) -> bytes:
    """A picture after some changes."""
    if data.startswith(_SIGNATURE) and draw.maybe(0.8):
        return _mutated_png(draw, data)
    if draw.maybe(0.3):
        return _head(draw, data)
    return mutated(draw, data, others)


def _head(draw: Draw, data: bytes) -> bytes:
    """Numbers at the start of the file, where formats keep their sizes."""
    changed = bytearray(data)
    for _ in range(draw.few(4)):
        size = draw.one([1, 2, 2, 4, 4])
        at = draw.number(2, max(2, min(len(data), 160) - size))
        changed[at : at + size] = magic_integer(draw, size)
    return bytes(changed)


def _mutated_png(draw: Draw, data: bytes) -> bytes:
    chunks = _chunks(data)
    for _ in range(draw.few(3)):
        _change(draw, chunks)
    return _SIGNATURE + b"".join(_chunk(draw, *chunk) for chunk in chunks)


def _chunks(data: bytes) -> Chunks:
    found, at = [], len(_SIGNATURE)
    while at + 8 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += size + 12
    return found


def _chunk(draw: Draw, kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body) ^ draw.maybe(0.01)
    size = len(body) if draw.maybe(0.99) else draw.one(_SIZES)
    return struct.pack(">I", size) + kind + body + struct.pack(">I", checksum)


def _change(draw: Draw, chunks: Chunks) -> None:
    index = draw.number(0, len(chunks) - 1)
    kind, body = chunks[index]
    action = draw.number(0, 7)
    if action == 0:
        chunks[index] = (draw.one(_KINDS), body)
    elif action == 1:
        chunks.insert(draw.number(0, len(chunks)), chunks[index])
    elif action == 2 and len(chunks) > 1:
        del chunks[index]
    elif action == 3:
        chunks.insert(draw.number(0, len(chunks)), _made(draw))
    elif action == 4:
        draw.chance.shuffle(chunks)
    elif action == 5 and kind == b"IHDR":
        chunks[index] = (kind, _header(draw, body))
    elif action == 6 and kind in (b"IDAT", b"fdAT"):
        chunks[index] = (kind, _bomb(draw, body))
    else:
        chunks[index] = (kind, mutated(draw, body, [], draw.few(3)))


def _made(draw: Draw) -> tuple[bytes, bytes]:
    """A chunk of text that is small in the file alone, or one of noise."""
    large = zlib.compress(bytes(draw.one([1 << 10, 1 << 20, 1 << 26])))
    return draw.one(
        [
            (b"zTXt", b"Comment\0\0" + large),
            (b"iTXt", b"Comment\0\1\0\0\0" + large),
            (b"iCCP", b"profile\0\0" + large),
            (b"tEXt", b"Comment\0" + b"x" * 100_000),
            (draw.one(_KINDS), draw.chance.randbytes(draw.few(64))),
        ]
    )


def _header(draw: Draw, body: bytes) -> bytes:
    width, height = (
        draw.one([*_SIZES, old]) for old in struct.unpack_from(">II", body.ljust(8, b"\0"))
    )
    rest = bytearray(body[8:])
    if rest and draw.maybe(0.5):
        rest[draw.number(0, len(rest) - 1)] = draw.one([0, 1, 2, 3, 4, 6, 8, 16, 255])
    return struct.pack(">II", width, height) + bytes(rest)


def _bomb(draw: Draw, body: bytes) -> bytes:
    return draw.one(
        [zlib.compress(bytes(draw.one([1 << 16, 1 << 24]))), body[: len(body) // 2], b""]
    )
