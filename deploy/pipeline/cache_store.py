"""The cache: results of stages in a folder, written atomically and checked when read.

Each entry is sealed with a key that only this user can read: what somebody else has put into the
folder, or changed there, counts as absent.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import shutil
import stat
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from backends.codec import FormatError, from_json
from backends.files import file_fault, fsync_path, name_fault, temporary_folder
from backends.user_cache import cache_folder, user_secret
from deploy.export.fingerprint import CacheKey
from deploy.recipe.schema import RecipeError
from deploy.runtime.bundle.integrity import hash_file
from deploy.runtime.bundle.manifest import Content

_ENTRY = "entry.json"
_FILES = "files"
_UNREADABLE = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, FormatError),
)
_BLOCK = 1 << 20  # bytes
_MOST_BYTES = 4 << 20  # of a description
_STALE = 24 * 3600.0  # seconds after which a half-written entry is of a process that died


@dataclass(frozen=True)
class CacheEntry:
    """A result in the cache.

    Attributes:
        digest: of its key.
        stage: the stage that produced it.
        subject: what it is of, such as ``head for some_backend``.
        files: path in the entry to size and hash.
        used: when it was last used, in seconds since 1970.
    """

    digest: str
    stage: str
    subject: str
    files: Mapping[str, Content]
    used: float

    @property
    def size(self) -> int:
        """The size of all files in bytes."""
        return sum(file.size for file in self.files.values())


def default_cache_folder() -> Path:
    """The stages' folder in the user's cache folder."""
    return cache_folder() / "stages"


class CacheStore:
    """A cache folder, which any number of processes may share.

    Attributes:
        folder: of the cache.
        limit: size in bytes above which the least recently used entries are removed.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit

    def fill(self, key: CacheKey, out: Path, build: Callable[[], object]) -> bool:
        """Fill a folder with the files of a stage, from the cache or by building them.

        Of several processes that need one key, one builds and the others wait for it.

        Args:
            key: everything that decides the files.
            out: the folder; it does not exist yet.
            build: writes the files into ``out``.

        Returns:
            Whether the files came from the cache.
        """
        with self._locked(key.digest):
            if self.copy_entry(key.digest, out):
                return True
            build()
            self._add(key, out)
        return False

    def copy_entry(self, digest: str, out: Path) -> bool:
        """Copy an entry into the new folder ``out``; a damaged entry is removed.

        Returns:
            Whether there was an entry, and it was undamaged.
        """
        entry = self.entry(digest)
        if entry is None:
            return False
        source = self._entry_folder(digest)
        try:
            for name, file in entry.files.items():
                if fault := self._fault(source / _FILES / name):
                    raise _DamagedError(f"'{name}' {fault}")
                if _copy(source / _FILES / name, out / name) != file.sha256:
                    raise _DamagedError(f"'{name}' was changed")
            os.utime(source / _ENTRY)
        except (OSError, _DamagedError) as error:
            shutil.rmtree(out, ignore_errors=True)
            self.remove(digest)
            warnings.warn(f"cache entry {digest[:12]} is rebuilt: {error}", stacklevel=3)
            return False
        return True

    def entry(self, digest: str) -> CacheEntry | None:
        """The description of an entry; none where there is no readable one."""
        path = self._entry_folder(digest) / _ENTRY
        try:
            if self._fault(path) or path.stat().st_size > _MOST_BYTES:
                return None
            used, record = path.stat().st_mtime, json.loads(path.read_text())
            files = {name: from_json(Content, file, name) for name, file in record["files"].items()}
            key = CacheKey(record["stage"], record["subject"], record["parts"])
            sealed = hmac.compare_digest(record["seal"], _seal(key, files))
        except _UNREADABLE:
            return None
        if not sealed or key.digest != digest or any(map(name_fault, files)):
            return None
        return CacheEntry(digest, key.stage, key.subject, files, used)

    def entries(self) -> list[CacheEntry]:
        """All entries, the most recently used first."""
        digests = {path.name for path in self._entry_paths()}
        entries = [entry for entry in map(self.entry, digests) if entry is not None]
        return sorted(entries, key=lambda entry: entry.used, reverse=True)

    def damage(self, entry: CacheEntry) -> str:
        """The first fault of an entry; empty where it is undamaged."""
        folder = self._entry_folder(entry.digest) / _FILES
        for name, file in entry.files.items():
            if fault := self._fault(folder / name):
                return f"'{name}' {fault}"
            if hash_file(folder / name) != file:
                return f"'{name}' was changed"
        return ""

    def remove(self, digest: str) -> None:
        """Remove an entry atomically."""
        self._remove_path(self._entry_folder(digest))

    def prune(self, limit: int | None = None) -> list[CacheEntry]:
        """Remove the least recently used entries beyond a limit, half-written and unreadable ones.

        Args:
            limit: in bytes; by default the cache's.

        Returns:
            The entries that were removed.
        """
        for path in _entries_of(self.folder / "aside"):
            with suppress(OSError):
                if time.time() - path.lstat().st_mtime > _STALE:
                    _delete(path)
        for path in self._entry_paths():
            misplaced = path != self._entry_folder(path.name)
            with suppress(FileNotFoundError):  # another process has removed it
                if (misplaced or self.entry(path.name) is None) and _is_own(path):
                    self._remove_path(path)
        removed = list(self._beyond(self.limit if limit is None else limit))
        for entry in removed:
            self.remove(entry.digest)
        return removed

    def _beyond(self, limit: int) -> Iterator[CacheEntry]:
        total = 0
        for entry in self.entries():
            total += entry.size
            if total > limit:
                yield entry

    def _add(self, key: CacheKey, source: Path) -> None:
        """Add files under a key. That this fails, as on a full disk, is only a warning."""
        try:
            with temporary_folder(self._staging()) as staging:
                _write_entry(staging / key.digest, key, source)
                self._own_folder("entries")
                folder = self._own_folder(f"entries/{key.digest[:2]}") / key.digest
                self.remove(key.digest)  # if there is one, its description was not readable
                (staging / key.digest).rename(folder)
                fsync_path(folder.parent)
            self.prune()
        except (OSError, RuntimeError) as error:
            warnings.warn(f"the cache '{self.folder}' is not written: {error}", stacklevel=4)

    def _locked(self, digest: str) -> AbstractContextManager[object]:
        """The lock of a key; the system releases it when the process dies."""
        try:
            path = self._own_folder("locks") / f"{digest}.lock"
            if path.is_symlink():
                raise OSError(f"'{path}' is a link")
            return FileLock(path).acquire()
        except OSError as error:
            warnings.warn(f"the cache '{self.folder}' is not used: {error}", stacklevel=3)
            return nullcontext()

    def _entry_folder(self, digest: str) -> Path:
        return self.folder / "entries" / digest[:2] / digest

    def _entry_paths(self) -> Iterator[Path]:
        """Everything at the places of entries; links are not followed."""
        for group in _entries_of(self.folder / "entries"):
            yield from _entries_of(group)

    def _remove_path(self, path: Path) -> None:
        """Remove what is at the place of an entry, if no link leads there."""
        groups = path.relative_to(self.folder).parents
        if any((self.folder / group).is_symlink() for group in groups if group != Path()):
            return
        with suppress(OSError), temporary_folder(self._staging()) as staging:
            path.rename(staging / "removed")

    def _staging(self) -> Path:
        """The folder for entries that are being written or removed."""
        return self._own_folder("aside")

    def _own_folder(self, name: str) -> Path:
        """A folder of the cache; it is made if it is missing.

        Raises:
            OSError: something else is there; what a link leads to is not the cache's.
        """
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        if folder.is_symlink():
            raise NotADirectoryError(f"'{folder}' is a link")
        return folder

    def _fault(self, path: Path) -> str:
        """Why a path is no regular file of the cache, reached without links, or nothing."""
        return file_fault(self.folder, path.relative_to(self.folder).as_posix())


def check_own_cache(folder: Path) -> None:
    """Refuse a cache folder in which everybody can put links, or that is somebody else's.

    Raises:
        RecipeError: naming the folder.
    """
    with suppress(FileNotFoundError):
        if not _is_own(folder.resolve()) or folder.stat().st_mode & stat.S_IWOTH:
            raise RecipeError(
                f"cache '{folder}'",
                expected="a folder of your own that not everybody can write to",
                got="another",
                do="Pass cache=DIR or cache=off, or change its owner and mode.",
            )


def _is_own(path: Path) -> bool:
    return os.name != "posix" or path.lstat().st_uid == os.getuid()


def _entries_of(folder: Path) -> list[Path]:
    """What is in a folder; nothing where it is no folder, or a link."""
    if folder.is_symlink():
        return []
    with suppress(OSError):
        return sorted(folder.iterdir())
    return []


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()


class _DamagedError(Exception):
    """A file of an entry has another content than its hash says."""


def _write_entry(folder: Path, key: CacheKey, source: Path) -> None:
    files = {}
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        name = path.relative_to(source).as_posix()
        target = folder / _FILES / name
        files[name] = Content(_copy(path, target), path.stat().st_size)
        fsync_path(target)
    record = {"stage": key.stage, "subject": key.subject, "parts": key.parts}
    record["files"] = {name: asdict(file) for name, file in files.items()}
    record["seal"] = _seal(key, files)
    (folder / _ENTRY).write_text(json.dumps(record, indent=2))
    fsync_path(folder / _ENTRY)
    fsync_path(folder)


def _seal(key: CacheKey, files: Mapping[str, Content]) -> str:
    """What only this user can compute of an entry's key and files."""
    content = {name: asdict(file) for name, file in files.items()}
    text = json.dumps([key.digest, key.subject, content], sort_keys=True)
    return hmac.new(user_secret(), text.encode(), hashlib.sha256).hexdigest()


def _copy(source: Path, target: Path) -> str:
    """Copy a file and return the SHA-256 of its content."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(_BLOCK):
            digest.update(block)
            writer.write(block)
    return digest.hexdigest()
