"""The files of a ``.tar`` or ``.zip``, looked at one by one before any of them is read."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from backends.files import name_fault
from deploy.runtime.manifest import BundleError

_MOST_FILES = 10_000


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        name: its path.
        size: in bytes, as the archive says.
        fault: why it cannot be a bundle's file, or nothing.
        open: its contents.
    """

    name: str
    size: int
    fault: str
    open: Callable[[], AbstractContextManager[IO[bytes]]]


def refused(archive: Path, member: Member, why: str) -> BundleError:
    """The error of a file that no bundle has."""
    return BundleError(f"archive '{archive}': file {member.name[:200]!r} is refused: {why}")


@contextmanager
def open_members(archive: Path) -> Iterator[Mapping[str, Member]]:
    """The files of an archive by their names, of which none is anything but a plain file."""
    if not archive.is_file():
        got = "a folder" if archive.is_dir() else "nothing" if not archive.exists() else "no file"
        raise BundleError(f"archive '{archive}'", expected="a file", got=got)
    with archive.open("rb") as file:
        is_zip = file.read(2) == b"PK"  # a tar may end like a zip, where its last file is one
        file.seek(0)
        if is_zip:
            with zipfile.ZipFile(file) as opened:
                yield _checked(archive, _of_zip(opened))
        else:
            with tarfile.open(fileobj=file, mode="r:") as opened_tar:
                yield _checked(archive, _of_tar(opened_tar))


def _checked(archive: Path, members: Iterator[Member]) -> Mapping[str, Member]:
    found: dict[str, Member] = {}
    for member in members:
        if fault := member.fault or name_fault(member.name):
            raise refused(archive, member, fault)
        if member.name in found:
            raise refused(archive, member, "there twice")
        found[member.name] = member
        if len(found) > _MOST_FILES:
            raise BundleError(
                f"archive '{archive}'", expected=f"at most {_MOST_FILES} files", got="more"
            )
    return found


def _of_zip(opened: zipfile.ZipFile) -> Iterator[Member]:
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


def _of_tar(opened: tarfile.TarFile) -> Iterator[Member]:
    reached = -1
    while (info := opened.next()) is not None:
        if info.offset <= reached or info.size < 0:  # sizes below zero would lead back, for ever
            raise BundleError(f"the archive leads back at '{info.name[:200]}'")
        reached = info.offset
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
