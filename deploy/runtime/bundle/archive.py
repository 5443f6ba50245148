"""A bundle as one file: packed, and unpacked as untrusted input."""

from __future__ import annotations

import hashlib
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from backends.files import (
    atomic_write,
    fsync_tree,
    name_fault,
    not_regular,
    temporary_folder,
)
from deploy.runtime.bundle.integrity import verify_all
from deploy.runtime.bundle.manifest import (
    MANIFEST,
    SIGNATURE,
    BundleError,
    Manifest,
    parse_manifest,
    read_manifest,
)
from deploy.runtime.bundle.manifest import MOST_BYTES as _MANIFEST_BYTES

_MOST_FILES = 10_000
_EXTENDED = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_MOST_HEADER = 16 << 10  # bytes of a member's extended header
MOST_GIB = 16.0
_GIB = 1 << 30
_BLOCK = 1 << 20  # bytes that are copied at once
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time of a zip

_FAULTS = (  # raised by the libraries on damaged files
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,  # RecursionError among them
    OverflowError,
)


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        name: its path.
        size: in bytes, as the archive declares.
        fault: why it cannot be a bundle's file; empty where it can.
        open: opens its contents.
    """

    name: str
    size: int
    fault: str
    open: Callable[[], AbstractContextManager[IO[bytes]]]


def refused(archive: Path, member: Member, why: str) -> BundleError:
    """The error for a file that no bundle has."""
    return BundleError(f"archive '{archive}': file {member.name[:200]!r} is refused: {why}")


@contextmanager
def open_members(archive: Path) -> Iterator[Mapping[str, Member]]:
    """The files of an archive by their names.

    Raises:
        BundleError: no file, a member that is no plain file, or has an unsafe or repeated name.
    """
    if got := not_regular(archive):
        raise BundleError(f"archive '{archive}'", expected="a file", got=got)
    with archive.open("rb") as file:
        is_zip = file.read(2) == b"PK"  # a tar whose last file is a zip ends like a zip
        file.seek(0)
        if is_zip:
            with zipfile.ZipFile(file) as opened:
                yield _checked(archive, _zip_members(opened))
        else:
            with tarfile.open(fileobj=file, mode="r:", tarinfo=_BoundedHeader) as opened_tar:
                yield _checked(archive, _tar_members(opened_tar))


def _checked(archive: Path, members: Iterator[Member]) -> Mapping[str, Member]:
    by_name: dict[str, Member] = {}
    for member in members:
        if fault := member.fault or name_fault(member.name):
            raise refused(archive, member, fault)
        if member.name in by_name:
            raise refused(archive, member, "there twice")
        by_name[member.name] = member
        if len(by_name) > _MOST_FILES:
            raise BundleError(
                f"archive '{archive}'", expected=f"at most {_MOST_FILES} files", got="more"
            )
    return by_name


def _zip_members(opened: zipfile.ZipFile) -> Iterator[Member]:
    for info in opened.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        fault = ""
        if not info.filename:
            fault = "without a name"
        elif info.is_dir() or kind not in (0, stat.S_IFREG):
            fault = "not a plain file"
        elif info.flag_bits & 1:
            fault = "encrypted"
        elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            fault = "compressed in an unusual way"
        elif info.orig_filename != info.filename:
            fault = "a name with a zero in it"
        yield Member(info.filename, info.file_size, fault, partial(opened.open, info))


class _BoundedHeader(tarfile.TarInfo):
    """A member whose extended header, of a long name or of pax records, is short.

    The standard library parses pax records in a time that grows with the square of their length.
    """

    def _proc_member(self, opened: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _EXTENDED and not 0 <= self.size <= _MOST_HEADER:
            raise BundleError(
                f"the archive has an extended header of {self.size:,} bytes",
                expected=f"at most {_MOST_HEADER:,}",
            )
        member: tarfile.TarInfo = super()._proc_member(opened)  # type: ignore[misc]
        return member


def _tar_members(opened: tarfile.TarFile) -> Iterator[Member]:
    last_offset = -1
    while (info := opened.next()) is not None:
        if info.offset <= last_offset or info.size < 0:  # a negative size would loop for ever
            raise BundleError(f"the archive leads back at '{info.name[:200]}'")
        last_offset = info.offset
        plain = info.isreg() and not info.issparse()
        yield Member(
            info.name, info.size, "" if plain else "not a plain file", _opener(opened, info)
        )


def _opener(opened: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def open_member() -> IO[bytes]:
        file = opened.extractfile(info)
        if file is None:
            raise tarfile.TarError(f"'{info.name}' has no contents")
        return file

    return open_member


def pack(bundle: Path, archive: Path) -> None:
    """Write a bundle, after comparing every byte of it, into a ``.tar`` or ``.zip``.

    The same bundle gives the same bytes.

    Raises:
        BundleError: not a bundle, or damaged; another ending; or it cannot be written.
    """
    write = {".tar": _write_tar, ".zip": _write_zip}.get(archive.suffix)
    if write is None:
        raise BundleError(
            f"archive '{archive}'", expected="a name in .tar or .zip", got=archive.name
        )
    manifest = read_manifest(bundle)
    verify_all(bundle, manifest)
    signature = [SIGNATURE] if (bundle / SIGNATURE).exists() else []
    try:
        with atomic_write(archive) as part:
            write(part, bundle, [MANIFEST, *signature, *sorted(manifest.files)])
    except OSError as error:
        raise BundleError(f"archive '{archive}' cannot be written: {error.strerror}") from error


def unpack(archive: Path, bundle: Path, most_gib: float = MOST_GIB) -> Manifest:
    """Unpack an archive into the new folder ``bundle``, every byte compared with its manifest.

    Nothing is written outside it, and it is there whole or not at all.

    Args:
        archive: a ``.tar`` or ``.zip``, told by its contents.
        bundle: the folder; it may exist if it is empty.
        most_gib: how much all files may be together.

    Raises:
        BundleError: no archive of a bundle: damaged, too large, with links, devices, files that
            are there twice, that lead out of the folder or are not in the manifest.
    """
    if bundle.exists() and not (bundle.is_dir() and not any(bundle.iterdir())):
        raise BundleError(f"'{bundle}'", expected="a new folder", got="one with something in it")
    try:
        bundle.absolute().parent.mkdir(parents=True, exist_ok=True)
        with (
            open_members(archive) as members,
            temporary_folder(bundle.absolute().parent) as aside,
        ):
            manifest = _unpack(archive, members, aside / "bundle", int(most_gib * _GIB))
            fsync_tree(aside / "bundle")
            (aside / "bundle").replace(bundle)
    except _FAULTS as error:
        raise BundleError(f"archive '{archive}' cannot be unpacked: {error}") from error
    return manifest


def _unpack(archive: Path, members: Mapping[str, Member], out: Path, most: int) -> Manifest:
    if MANIFEST not in members:
        raise BundleError(
            f"archive '{archive}'", expected=f"a bundle's, with {MANIFEST}", got="none"
        )
    if members[MANIFEST].size > _MANIFEST_BYTES:
        raise refused(archive, members[MANIFEST], f"more than {_MANIFEST_BYTES:,} bytes")
    with members[MANIFEST].open() as file:
        data = file.read(_MANIFEST_BYTES)
    manifest = parse_manifest(data, str(archive))
    _check_listed(archive, members, manifest)
    total, free = sum(member.size for member in members.values()), _free(out.parent)
    if total > min(most, free):
        raise BundleError(
            f"archive '{archive}' is {total:,} bytes unpacked",
            expected=f"at most {most:,}" if most < free else f"at most the {free:,} that are free",
            got="more",
            do="If you know what it holds, pass a higher --most-gib." if most < free else "",
        )
    for name, member in members.items():
        listed = manifest.files.get(name)
        digest = _extract(archive, member, out / name)
        if listed is not None and digest != listed.sha256:
            raise refused(archive, member, f"SHA-256 {digest}, not that of the manifest")
    return manifest


def _check_listed(archive: Path, members: Mapping[str, Member], manifest: Manifest) -> None:
    for name, member in members.items():
        if name in (MANIFEST, SIGNATURE):
            continue
        listed = manifest.files.get(name)
        if listed is None:
            raise refused(archive, member, "not in the manifest")
        if member.size != listed.size:
            raise refused(archive, member, f"{member.size} bytes, not {listed.size}")
    for name in manifest.files:
        if name not in members:
            raise BundleError(f"archive '{archive}': file '{name}' is missing")


def _extract(archive: Path, member: Member, target: Path) -> str:
    """Write a file and return its SHA-256."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, remaining = hashlib.sha256(), member.size
    with member.open() as source, target.open("xb") as file:
        while block := source.read(min(_BLOCK, remaining + 1)):
            remaining -= len(block)
            if remaining < 0:
                raise refused(archive, member, "longer than it says")
            digest.update(block)
            file.write(block)
    if remaining:
        raise refused(archive, member, "shorter than it says")
    return digest.hexdigest()


def _write_tar(archive: Path, bundle: Path, names: list[str]) -> None:
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as writing:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = (bundle / name).stat().st_size
            with (bundle / name).open("rb") as file:
                writing.addfile(info, file)


def _write_zip(archive: Path, bundle: Path, names: list[str]) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writing:
        for name in names:
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            size = (bundle / name).stat().st_size
            with (
                (bundle / name).open("rb") as reading,
                writing.open(info, "w", force_zip64=size >= 1 << 31) as target,
            ):
                shutil.copyfileobj(reading, target, _BLOCK)


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free
