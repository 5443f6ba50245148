"""Safe file names, atomic writes and locks of folders."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from backends.contract import DeployError

PARTIAL = ".part-"  # prefix of unfinished files and folders, which a killed process may leave
_OPEN_FILES = Path("/proc/self/fd")
_MAX_NAME = 255  # bytes of a name on common file systems
_FORBIDDEN = frozenset('\\:*?"<>|') | {chr(code) for code in (*range(32), 127)}
_FILE_TYPES = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFREG: "a regular file",
}


def name_fault(name: str) -> str:
    """Why a name is no relative path of a file inside a folder, on any system, or nothing."""
    parts = name.split("/")
    if not name or name != PurePosixPath(name).as_posix() or name.startswith("/"):
        return "not a plain relative path"
    if ".." in parts or "." in parts:
        return "a path that leads out of the folder"
    if any(not part.isprintable() or _FORBIDDEN & set(part) for part in parts):
        return "a character that no file name should have"
    if any(len(part.encode(errors="surrogatepass")) > _MAX_NAME for part in parts):
        return "a name that is too long"
    return ""


def names_fault(names: Iterable[str]) -> str:
    """Why these names cannot be files of one folder on every system, or nothing.

    Some systems do not tell capital letters from small ones, nor a letter with an accent from the
    two characters that it consists of.
    """
    files: dict[str, str] = {}
    for name in names:
        other = files.setdefault(_folded(name), name)
        if other is not name:
            return f"'{other}' and '{name}' are one file on some systems"
    for name in files.values():
        for parent in PurePosixPath(name).parents:
            if (other := files.get(_folded(str(parent)), "")) != "":
                return f"'{other}' is a file, and the folder of '{name}'"
    return ""


def _folded(name: str) -> str:
    return unicodedata.normalize("NFD", name).casefold()


def file_fault(folder: Path, name: str) -> str:
    """Why ``name`` is no regular file inside the folder, reached without links, or nothing."""
    path = folder
    *parents, last = PurePosixPath(name).parts
    try:
        for part in parents:
            path /= part
            if not stat.S_ISDIR(path.lstat().st_mode):
                return "is not in a folder of its own"
        mode = (path / last).lstat().st_mode
    except (OSError, ValueError):
        return "is missing"
    return "" if stat.S_ISREG(mode) else f"is {file_type(mode)}, not a regular file"


def file_type(mode: int) -> str:
    """The type of a file of this mode, such as ``a symbolic link``."""
    return _FILE_TYPES.get(stat.S_IFMT(mode), "something else")


def not_regular(path: Path) -> str:
    """What there is in the place of a regular file, such as ``a FIFO``; empty where it is one.

    Links are followed. Opening anything else may wait for ever, or never end.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "nothing"
    except OSError as error:
        return f"an error: {error.strerror}"
    except ValueError:
        return "a path with a zero in it"
    return "" if stat.S_ISREG(mode) else file_type(mode)


def check_regular(path: Path) -> None:
    """Refuse what is no regular file, before it is opened or replaced; nothing at all is accepted.

    Raises:
        OSError: something else than a file has this name.
    """
    kind = not_regular(path)
    if kind not in ("", "nothing"):
        raise OSError(errno.EINVAL, f"it is {kind}", str(path))


def check_utf8(path: Path) -> None:
    """Refuse a path that is not UTF-8, which converters cannot take.

    Raises:
        DeployError: naming the path with escapes.
    """
    if not _is_utf8(path.absolute()):
        raise DeployError(f"path '{path.absolute()}'", expected="UTF-8", do="Rename it.")


@contextmanager
def utf8_path(path: Path) -> Iterator[Path]:
    """A file of a bundle under a path that is UTF-8, which bindings of engines need.

    The file's own name must be UTF-8; its folder may have any name.

    Raises:
        DeployError: the folder is not UTF-8, on a system that has no other path to it.
    """
    if _is_utf8(path):
        yield path
        return
    if not _OPEN_FILES.is_dir():
        check_utf8(path)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        yield _OPEN_FILES / str(handle) / path.name
    finally:
        os.close(handle)


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file under a temporary path, which replaces ``path`` at the end of the block.

    Raises:
        OSError: it cannot be written, or something else than a file has this name; an earlier file
            is unchanged.
    """
    check_regular(path)  # replacing /dev/null would harm every program
    with temporary_folder(path.absolute().parent) as folder:
        part = folder / path.name
        yield part
        fsync_path(part)
        part.replace(path)
    fsync_path(path.absolute().parent)


@contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder, which is removed at the end of the block.

    That holds for a block that a signal interrupts at any moment, from the folder's first on.
    ``tempfile.TemporaryDirectory`` does not remove a folder if the interruption comes before it
    has noted its name, or while it removes the files.

    Args:
        parent: where it is made; by default in the system's folder for temporary files.

    Raises:
        OSError: it cannot be made.
    """
    prefix, parent = (PARTIAL, parent) if parent else ("deploy-", Path(tempfile.gettempdir()))
    folder = parent.absolute() / f"{prefix}{os.urandom(8).hex()}"
    try:
        try:
            folder.mkdir(mode=0o700)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        if folder.exists():  # the first removal was interrupted, which happens once
            shutil.rmtree(folder, ignore_errors=True)


def remove_partial_files(folder: Path) -> None:
    """Remove unfinished files of killed processes; no other process may be writing there."""
    for path in folder.glob(f"{PARTIAL}*"):
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def try_lock_folder(folder: Path) -> Iterator[bool]:
    """Lock a folder for this block without waiting; yields whether that succeeded.

    The system releases the lock when the process ends. Without effect on systems that cannot lock
    folders.
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
    """Flush a file, or the names in a folder, to the disk."""
    if os.name != "posix" and path.is_dir():
        return  # only POSIX can open a folder
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_tree(folder: Path) -> None:
    """Flush a folder and everything in it to the disk."""
    for path in folder.rglob("*"):
        if not path.is_symlink():
            fsync_path(path)
    fsync_path(folder)


def write_text(target: str, text: str) -> None:
    """Write a text to the file ``target`` atomically, or print it if that is ``-``.

    Raises:
        DeployError: the file cannot be written.
    """
    if target in ("-", "/dev/stdout"):  # which a file of this name would replace
        print(text)
        return
    path = Path(target)
    try:
        with atomic_write(path) as part:
            part.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise DeployError(f"'{path}' cannot be written: {error.strerror}") from error
