"""Trees of files that a desk puts here, known by their hashes."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from deploy.devices.on_device.faults import FaultError, disk_faults
from deploy.devices.on_device.notes import read_note, write_note

KEPT = {"bundles": 8, "data": 2, "code": 4, "wheels": 0}
"""The kinds of trees, and how many of each are kept beside those in use."""

_NAME = re.compile(r"\w[\w.-]*")


class Trees:
    """The trees of a device.

    A tree is described as the desk lists it: its ``kind``, its ``name``, the ``digest`` of its
    listing and, for some requests, its ``files``: the hash and size of each by its path.

    Args:
        folder: of the device.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self, kind: str) -> list[str]:
        """The trees of a kind, the one that was used last first."""
        folder = self._folder / kind
        notes = list(folder.glob("*.json")) if folder.is_dir() else []
        return [note.stem for note in sorted(notes, key=lambda path: -path.stat().st_mtime)]

    def stale(self, trees: Sequence[Mapping[str, str]]) -> Mapping[str, Any]:
        """Which trees are not here as the desk has them, by the digests of their listings."""
        return {"stale": [tree["name"] for tree in trees if not self._is_there(tree)]}

    def missing(self, trees: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Which files of trees are not here, each with how many bytes were received before."""
        objects = self._objects()
        wanted = {sha: size for tree in trees for sha, size in tree["files"].values()}
        for tree in trees:
            self._take_apart(tree)
        for path in objects.iterdir():
            size = wanted.get(path.name.removesuffix(".part"))
            if size is None or path.stat().st_size > size:
                path.unlink()  # of another run
        received = {sha: _received(objects, sha, size) for sha, size in wanted.items()}
        missing = {sha: size for sha, size in received.items() if not (objects / sha).exists()}
        return {"missing": missing, "disk": shutil.disk_usage(objects).free}

    def assemble(self, tree: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put a tree's files in place, after a look at their hashes; or say which are damaged."""
        objects, target = self._objects(), self._path(tree["kind"], tree["name"])
        with disk_faults(self._folder):
            damaged = [sha for sha, _ in tree["files"].values() if not _is_object(objects, sha)]
            if damaged:
                return {"damaged": damaged}
            staging = target.with_name(f".{target.name}")
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
            _move_in(objects, staging, tree["files"])
            shutil.rmtree(target, ignore_errors=True)
            staging.rename(target)
            write_note(_note(target), {key: tree[key] for key in ("digest", "files")})
        return {"damaged": []}

    def forget(self, kind: str, name: str) -> Mapping[str, Any]:
        """Look at each file of a tree again the next time; files that are right stay."""
        note = _note(self._path(kind, name))
        write_note(note, {**read_note(note), "digest": ""})
        return {}

    def prune(self, used: Sequence[str]) -> None:
        """Remove all but the newest few trees of each kind, and what was not finished."""
        for kind, kept in KEPT.items():
            others = [name for name in self.names(kind) if name not in used]
            for name in others[kept:]:
                _note(self._path(kind, name)).unlink()
            folder = self._folder / kind
            for path in folder.iterdir() if folder.is_dir() else ():
                if path.is_dir() and not _note(path).exists():
                    shutil.rmtree(path, ignore_errors=True)

    def _objects(self) -> Path:
        objects = self._folder / "objects"
        with disk_faults(objects):
            objects.mkdir(parents=True, exist_ok=True)
        return objects

    def _path(self, kind: str, name: str) -> Path:
        if kind not in KEPT or not _NAME.fullmatch(name):
            raise FaultError(f"no tree can be called {kind}/{name}")
        return self._folder / kind / name

    def _is_there(self, tree: Mapping[str, str]) -> bool:
        target = self._path(tree["kind"], tree["name"])
        note = _note(target)
        if not target.is_dir() or read_note(note).get("digest") != tree["digest"]:
            return False
        os.utime(note)  # it is used
        return True

    def _take_apart(self, tree: Mapping[str, Any]) -> None:
        """Make objects of the files of an earlier tree of this name, and remove it."""
        target = self._path(tree["kind"], tree["name"])
        note = _note(target)
        for name, (sha, size) in read_note(note).get("files", {}).items():
            path, to = target / name, self._objects() / sha
            fits = path.is_file() and path.stat().st_size == size and not to.exists()
            if fits and _sha256(path) == sha:
                path.rename(to)
        note.unlink(missing_ok=True)
        shutil.rmtree(target, ignore_errors=True)


def _received(objects: Path, sha: str, size: int) -> int:
    """How many bytes of a file have been received; one that is complete is looked at."""
    part = objects / f"{sha}.part"
    received = part.stat().st_size if part.exists() else 0
    if received == size and part.exists():
        return size if _is_object(objects, sha) else 0
    return received


def _is_object(objects: Path, sha: str) -> bool:
    """Whether a file is here and has been looked at; one that is damaged is removed."""
    if (objects / sha).exists():
        return True
    part = objects / f"{sha}.part"
    if not part.exists():
        return False
    if _sha256(part) != sha:
        part.unlink()
        return False
    part.rename(objects / sha)
    return True


def _move_in(objects: Path, folder: Path, files: Mapping[str, tuple[str, int]]) -> None:
    """Move objects to the names of their files; all but the last of one content are copies."""
    times = Counter(sha for sha, _ in files.values())
    for name, (sha, _) in files.items():
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise FaultError(f"no file can be called {name}")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        times[sha] -= 1
        if times[sha]:
            shutil.copyfile(objects / sha, path)
        else:
            (objects / sha).rename(path)


def _note(tree: Path) -> Path:
    return tree.with_name(f"{tree.name}.json")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
