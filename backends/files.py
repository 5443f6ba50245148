"""Safe file names, and files that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from backends.contract import DeployError

PARTIAL = ".part-"  # begins the name of what is not whole yet, and may be left by a killed process


_LONGEST = 255  # bytes of a name on common file systems


_FORBIDDEN = frozenset('\\:*?"<>|') | {chr(code) for code in (*range(32), 127)}


def name_fault(name: str) -> str:
    """Why a name is not that of a file inside a folder, on any system; nothing where it is one."""
    parts = name.split("/")
    if not name or name != PurePosixPath(name).as_posix() or name.startswith("/"):
        return "not a plain relative path"
    if ".." in parts or "." in parts:
        return "a path that leads out of the folder"
    if any(not part.isprintable() or _FORBIDDEN & set(part) for part in parts):
        return "a character that no file name should have"
    if any(len(part.encode(errors="surrogatepass")) > _LONGEST for part in parts):
        return "a name that is too long"
    return ""


def file_fault(folder: Path, name: str) -> str:
    """Why ``name`` is no regular file inside the folder, reached through no link; or nothing."""
    at = folder
    *parents, last = PurePosixPath(name).parts
    try:
        for part in parents:
            at /= part
            if not stat.S_ISDIR(at.lstat().st_mode):
                return "is not in a folder of its own"
        mode = (at / last).lstat().st_mode
    except (OSError, ValueError):
        return "is missing"
    return "" if stat.S_ISREG(mode) else f"is {_kind(mode)}, not a regular file"


def _kind(mode: int) -> str:
    kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO"}
    return kinds.get(stat.S_IFMT(mode), "a device or a socket")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A place to write a file; it gets its name, in the place of an earlier one, when it is whole.

    Raises:
        OSError: it cannot be written; an earlier file is as it was.
    """
    with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=PARTIAL) as aside:
        part = Path(aside) / path.name
        yield part
        fsync_path(part)
        part.replace(path)
    fsync_path(path.absolute().parent)


def remove_partial_files(folder: Path) -> None:
    """Remove what killed processes left half-written; no other may be writing there."""
    for path in folder.glob(f"{PARTIAL}*"):
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def try_lock_folder(folder: Path) -> Iterator[bool]:
    """Have a folder for this process alone, until it ends; false where another one has it.

    Without effect on systems that cannot lock folders.
    """
    if sys.platform == "win32":
        yield True
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)


def fsync_path(path: Path) -> None:
    """Have a file or a folder's names on the disk."""
    if os.name != "posix" and path.is_dir():
        return  # only there a folder can be opened
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_tree(folder: Path) -> None:
    """Have a folder with everything in it on the disk."""
    for path in folder.rglob("*"):
        if not path.is_symlink():
            fsync_path(path)
    fsync_path(folder)


def write_text(target: str, text: str) -> None:
    """Print where ``target`` is ``-``; else write the whole file or nothing.

    Raises:
        DeployError: the file cannot be written.
    """
    if target == "-":
        print(text)
        return
    path = Path(target)
    try:
        with atomic_write(path) as part:
            part.write_text(text + "\n")
    except OSError as error:
        raise DeployError(f"'{path}' cannot be written: {error.strerror}") from error
