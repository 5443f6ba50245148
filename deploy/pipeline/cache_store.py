"""A folder of results: written aside and renamed, read with every byte compared."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from backends.files import fsync_path
from backends.user_cache import cache_folder
from deploy.export.fingerprint import CacheKey
from deploy.runtime.bundle.integrity import hash_file
from deploy.runtime.bundle.manifest import Content

_ENTRY = "entry.json"


_BLOCK = 1 << 20


_STALE = 24 * 3600.0  # seconds: what was written aside that long ago belongs to nobody


@dataclass(frozen=True)
class CacheEntry:
    """A result in the cache.

    Attributes:
        digest: of its key.
        stage: that made it.
        subject: what it is about.
        files: with their sizes and hashes.
        used: when it was last asked for, in seconds since 1970.
    """

    digest: str
    stage: str
    subject: str
    files: Mapping[str, Content]
    used: float

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(file.size for file in self.files.values())


def default_cache_folder() -> Path:
    """The folder of the user's own cache."""
    return cache_folder() / "stages"


class CacheStore:
    """Results under the digests of their keys; any number of processes may share the folder.

    Attributes:
        folder: where they are.
        limit: bytes; beyond it those that were not used for the longest time go.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit

    def fill(self, key: CacheKey, out: Path, build: Callable[[], object]) -> bool:
        """Have a stage's files in a folder: those that are kept, or newly built ones.

        Of several processes that want one key one builds, and the others wait for it.

        Args:
            key: what decides the files.
            out: the folder, which does not exist yet.
            build: makes it.

        Returns:
            Whether nothing had to be built.
        """
        with self._held(key.digest):
            if self.take(key.digest, out):
                return True
            build()
            self._keep(key, out)
        return False

    def take(self, digest: str, out: Path) -> bool:
        """Copy an entry into the new folder ``out``; false where none is there and whole."""
        entry = self.entry(digest)
        if entry is None:
            return False
        source = self._place(digest)
        try:
            for name, file in entry.files.items():
                if _copy(source / "files" / name, out / name) != file.sha256:
                    raise _DamagedError(f"'{name}' was changed")
            os.utime(source / _ENTRY)
        except (OSError, _DamagedError) as error:
            shutil.rmtree(out, ignore_errors=True)
            self.remove(digest)
            warnings.warn(f"cache entry {digest[:12]} is built anew: {error}", stacklevel=3)
            return False
        return True

    def entry(self, digest: str) -> CacheEntry | None:
        """What is known of an entry; nothing where there is none."""
        path = self._place(digest) / _ENTRY
        try:
            used, about = path.stat().st_mtime, json.loads(path.read_text())
            files = {name: Content(**file) for name, file in about["files"].items()}
            return CacheEntry(digest, about["stage"], about["subject"], files, used)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None

    def entries(self) -> list[CacheEntry]:
        """All entries, the one used last first."""
        digests = [path.parent.name for path in self.folder.glob(f"entries/*/*/{_ENTRY}")]
        found = [entry for entry in map(self.entry, digests) if entry is not None]
        return sorted(found, key=lambda entry: entry.used, reverse=True)

    def damage(self, entry: CacheEntry) -> str:
        """What is wrong with an entry; nothing where it is whole."""
        for name, file in entry.files.items():
            path = self._place(entry.digest) / "files" / name
            if not path.is_file():
                return f"'{name}' is missing"
            if hash_file(path) != file:
                return f"'{name}' was changed"
        return ""

    def remove(self, digest: str) -> None:
        """Take an entry out, at once for everybody."""
        with suppress(OSError), tempfile.TemporaryDirectory(dir=self._aside()) as aside:
            self._place(digest).rename(Path(aside) / digest)

    def prune(self, limit: int | None = None) -> list[CacheEntry]:
        """Remove what is beyond the limit, and what was left half-written; gives what went."""
        for path in self._aside().iterdir():
            if time.time() - path.stat().st_mtime > _STALE:
                shutil.rmtree(path, ignore_errors=True)
        gone = list(self._beyond(self.limit if limit is None else limit))
        for entry in gone:
            self.remove(entry.digest)
        return gone

    def _beyond(self, limit: int) -> Iterator[CacheEntry]:
        total = 0
        for entry in self.entries():
            total += entry.size
            if total > limit:
                yield entry

    def _keep(self, key: CacheKey, source: Path) -> None:
        """Put files under a key. A full disk is no reason to fail: they are there, if not kept."""
        try:
            aside = Path(tempfile.mkdtemp(dir=self._aside()))
            try:
                _write(aside / key.digest, key, source)
                place = self._place(key.digest)
                place.parent.mkdir(parents=True, exist_ok=True)
                if place.exists():  # it could not be read
                    self.remove(key.digest)
                (aside / key.digest).rename(place)
                fsync_path(place.parent)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
            self.prune()
        except OSError as error:
            warnings.warn(f"the cache '{self.folder}' is not written: {error}", stacklevel=4)

    def _held(self, digest: str) -> AbstractContextManager[object]:
        """A lock that the system takes back from a process that dies."""
        locks = self.folder / "locks"
        try:
            locks.mkdir(parents=True, exist_ok=True)
            return FileLock(locks / f"{digest}.lock").acquire()
        except OSError as error:
            warnings.warn(f"the cache '{self.folder}' is not used: {error}", stacklevel=3)
            return nullcontext()

    def _place(self, digest: str) -> Path:
        return self.folder / "entries" / digest[:2] / digest

    def _aside(self) -> Path:
        aside = self.folder / "aside"
        aside.mkdir(parents=True, exist_ok=True)
        return aside


class _DamagedError(Exception):
    """A file is not what it was."""


def _write(folder: Path, key: CacheKey, source: Path) -> None:
    files = {}
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        name = path.relative_to(source).as_posix()
        target = folder / "files" / name
        files[name] = Content(_copy(path, target), path.stat().st_size)
        fsync_path(target)
    about = {"stage": key.stage, "subject": key.subject, "parts": key.parts}
    about["files"] = {name: asdict(file) for name, file in files.items()}
    (folder / _ENTRY).write_text(json.dumps(about, indent=2))
    fsync_path(folder / _ENTRY)
    fsync_path(folder)


def _copy(source: Path, target: Path) -> str:
    """Copy a file; gives the SHA-256 of what went by."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source.open("rb") as reading, target.open("wb") as writing:
        while block := reading.read(_BLOCK):
            digest.update(block)
            writing.write(block)
    return digest.hexdigest()
