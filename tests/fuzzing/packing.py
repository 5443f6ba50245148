"""Archives as lists of members, and back, with headers that may say something else."""

from __future__ import annotations

import io
import tarfile
import warnings
import zipfile
from dataclasses import dataclass

from tests.fuzzing.draw import Draw
from tests.fuzzing.octets import magic_integer
from tests.fuzzing.paths import bad_path

_BLOCK = 512


@dataclass(frozen=True)
class Entry:
    """A member, however it will be written.

    Attributes:
        name: its path.
        data: its contents.
        sort: tar's letter of its type.
        link: where it leads, if it does.
        size: that it claims in the place of its own.
        mode: its permission bits.
    """

    name: str
    data: bytes
    sort: bytes = b"0"
    link: str = ""
    size: int | None = None
    mode: int = 0o644


Entries = list[Entry]


def entries_of(data: bytes) -> Entries:
    """The members of a sound archive."""
    return _of_zip(data) if data[:2] == b"PK" else _of_tar(data)


def packed(draw: Draw, entries: Entries, zipped: bool) -> bytes:
    """An archive of these members; at times a field of a header is not as it should be."""
    written = _to_zip(draw, entries) if zipped else _to_tar(draw, entries)
    if draw.maybe(0.3):
        return _zip_fields(draw, written) if zipped else _tar_header(draw, written)
    return written


def _of_tar(data: bytes) -> Entries:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = [(info, archive.extractfile(info)) for info in archive]
        return [Entry(info.name, file.read() if file else b"") for info, file in found]


def _of_zip(data: bytes) -> Entries:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [Entry(info.filename, archive.read(info)) for info in archive.infolist()]


def _to_tar(draw: Draw, entries: Entries) -> bytes:
    target = io.BytesIO()
    kind = draw.one([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
    with tarfile.open(fileobj=target, mode="w", format=kind, errors="surrogatepass") as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.type, info.linkname, info.mode = entry.sort, entry.link, entry.mode
            info.size = len(entry.data) if entry.size is None else entry.size
            if kind == tarfile.PAX_FORMAT and draw.maybe(0.05):
                info.pax_headers = _pax(draw, entry)
            try:
                header = info.tobuf(kind, "utf-8", "surrogatepass")
            except (ValueError, OverflowError):  # a field that this format cannot hold
                continue
            target.write(header + entry.data + bytes(-len(entry.data) % _BLOCK))
            archive.offset = target.tell()
    return target.getvalue()


def _pax(draw: Draw, entry: Entry) -> dict[str, str]:
    path = bad_path(draw, entry.name).replace("\ud800", "x")
    return draw.one(
        [
            {"path": path},
            {"linkpath": path},
            {"size": draw.one(["-1", "0", "1" * 30, "x", "9" * 5000, str(1 << 40)])},
            {"GNU.sparse.map": "0,1,1099511627776,1", "GNU.sparse.size": str(1 << 40)},
            {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9" * 20},
            {"GNU.sparse.name": path, "GNU.sparse.size": "-5"},
            {"mtime": "nan", "uid": "x" * 100_000},
        ]
    )


def _tar_header(draw: Draw, data: bytes) -> bytes:
    """Bytes of a header change, and its checksum with them."""
    changed = bytearray(data)
    blocks = [
        at for at in range(0, len(data) - _BLOCK, _BLOCK) if data[at + 257 : at + 262] == b"ustar"
    ]
    if not blocks:
        return data
    at = draw.one(blocks)
    field, size = draw.one(
        [(0, 100), (100, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155)]
    )
    values = [
        draw.chance.randbytes(size),
        b"7" * size,
        bytes(size),
        b"\xff" * size,
        b"-1".ljust(size),
        b"\x80" + magic_integer(draw, 8).rjust(size - 1, b"\0"),
    ]
    changed[at + field : at + field + size] = draw.one(values)[:size]
    changed[at + 148 : at + 156] = b" " * 8
    changed[at + 148 : at + 156] = b"%06o\0 " % sum(changed[at : at + _BLOCK])
    return bytes(changed)


def _to_zip(draw: Draw, entries: Entries) -> bytes:
    target = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w") as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for entry in entries:
            info = zipfile.ZipInfo("x")
            info.filename = entry.name.encode("utf-8", "replace").decode()
            kinds = {b"2": 0o120000, b"5": 0o040000, b"6": 0o010000, b"3": 0o020000}
            info.external_attr = (kinds.get(entry.sort, 0o100000) | entry.mode) << 16
            how = draw.one([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED])
            if draw.maybe(0.03):
                how = draw.one([zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
            if len(info.filename.encode()) < 65_000:
                archive.writestr(info, entry.link.encode("utf-8", "replace") or entry.data, how)
    return target.getvalue()


def _zip_fields(draw: Draw, data: bytes) -> bytes:
    """A number of a local header, of the central directory or of its end is another."""
    changed = bytearray(data)
    mark = draw.one([b"PK\x01\x02", b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"])
    places = [at for at in range(len(data) - 4) if data.startswith(mark, at)]
    if places:
        at = draw.one(places) + draw.one(
            [4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 38, 42]
        )
        size = draw.one([1, 2, 4])
        changed[at : at + size] = magic_integer(draw, size)
    return bytes(changed)
