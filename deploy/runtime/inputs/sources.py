"""The files, folders, patterns, videos and cameras that a user names, as a list of sources."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from backends.contract import DeployError
from deploy.runtime.vision.image import refuse_url

Kind = Literal["picture", "standard input", "video", "camera", "tensors"]
"""What a source is; ``standard input`` is a picture there."""

Wanted = Literal["picture", "tensors"]
"""What a folder is searched for."""

STANDARD_INPUT = "-"

PICTURE_SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tif", ".tiff", ".webp"),
)
_VIDEOS = (
    *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"),
    *(".ogv", ".ts", ".webm", ".wmv", ".y4m"),
)
_SUFFIXES: dict[str, Kind] = {
    **dict.fromkeys(PICTURE_SUFFIXES, "picture"),
    **dict.fromkeys(_VIDEOS, "video"),
    ".npz": "tensors",
}
_NAMES = {"picture": "pictures", "tensors": "tensors (.npz)"}  # of what a folder is searched for
_CAMERA = re.compile(r"camera:(\d{1,3})")


class InputError(DeployError):
    """A folder or pattern without anything to run, or a source that does not exist."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file, camera or standard input to be run.

    Attributes:
        kind: what it holds.
        name: its path as the user wrote it; ``camera:0``; or ``-``.
        target: the path without suffix, relative to an output folder, of what is made of it.
    """

    kind: Kind
    name: str
    target: str

    @property
    def path(self) -> Path:
        """Of its file."""
        return Path(self.name)

    @property
    def is_file(self) -> bool:
        """Whether it is read from its path."""
        return self.kind in ("picture", "video", "tensors")

    @property
    def camera(self) -> int:
        """The number of its camera."""
        return int(self.name.partition(":")[2])


@dataclass
class Sources:
    """Sources in the order of the user's words, those of a folder or pattern sorted by path.

    Attributes:
        found: the sources.
        notes: what was left out, in words.
    """

    found: list[Source] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_sources(
    words: Iterable[str | Path],
    recursive: bool = False,
    wanted: Wanted = "picture",
    exclude: Path | None = None,
) -> Sources:
    """What files, folders, patterns and cameras stand for.

    A folder stands for its files of the wanted kind, by their suffixes; a pattern for what it
    matches, videos too where pictures are wanted; another path for itself, whether it exists or
    not; ``camera:N`` for a camera, and ``-`` for a picture on standard input.

    Args:
        words: of the user.
        recursive: whether the folders in a folder belong to it.
        wanted: what a folder or pattern is searched for.
        exclude: a folder to leave out, such as that of earlier results.

    Raises:
        InputError: nothing wanted in a folder, or matched by a pattern; a URL; or ``-`` twice.
    """
    sources = Sources()
    for word in map(str, words):
        _add(word, sources, recursive, wanted, exclude)
    if sum(source.kind == "standard input" for source in sources.found) > 1:
        raise InputError("standard input", expected="- once", got="- several times")
    return sources


def _add(
    word: str, sources: Sources, recursive: bool, wanted: Wanted, exclude: Path | None
) -> None:
    if word == STANDARD_INPUT:
        sources.found.append(Source("standard input", word, "standard-input"))
    elif camera := _CAMERA.fullmatch(word):
        sources.found.append(Source("camera", word, f"camera-{camera[1]}"))
    elif os.path.isdir(word):  # noqa: PTH112 - false where the name is too long
        files = _files(word, recursive, exclude)
        _add_files(f"folder '{word}'", word, files, {wanted}, recursive, sources)
    elif glob.has_magic(word) and not os.path.lexists(word):
        kinds: set[Kind] = {wanted, "video"} if wanted == "picture" else {wanted}
        matches = sorted(glob.iglob(word, recursive=True))  # noqa: PTH207 - as the user wrote it
        _add_files(f"pattern '{word}'", None, matches, kinds, True, sources)
    else:
        refuse_url(word)
        sources.found.append(Source(_kind(word) or "picture", word, Path(word).stem))


def _kind(name: str) -> Kind | None:
    return _SUFFIXES.get(os.path.splitext(name)[1].lower())  # noqa: PTH122 - for large folders


def _files(folder: str, recursive: bool, exclude: Path | None) -> Iterator[str]:
    """The paths in a folder sorted by name; folders are among them unless they are entered."""

    def fail(error: OSError) -> None:
        raise InputError(f"folder '{folder}' cannot be read: {error.strerror}") from error

    left_out = exclude.resolve() if exclude is not None else None
    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and Path(parent, name).resolve() != left_out
        )
        yield from (os.path.join(parent, name) for name in sorted(names))  # noqa: PTH118
        if not recursive:
            yield from (os.path.join(parent, name) for name in folders)  # noqa: PTH118
            return


def _add_files(
    where: str,
    root: str | None,
    paths: Iterable[str],
    kinds: set[Kind],
    recursive: bool,
    sources: Sources,
) -> None:
    before, skipped = len(sources.found), Counter[str]()
    for path in paths:
        kind = _kind(path)
        hidden = os.path.basename(path).startswith(".")  # noqa: PTH119
        if kind is None or kind not in kinds or hidden:
            skipped["folders" if Path(path).is_dir() else "other files"] += 1
        else:
            stem = Path(path).relative_to(root).with_suffix("") if root else Path(path).stem
            sources.found.append(Source(kind, path, str(stem)))
    rest = " and ".join(f"{count} {_plural(name, count)}" for name, count in skipped.items())
    is_shallow = not recursive and skipped["folders"] > 0
    do = "--recursive takes the folders in it" if is_shallow else ""
    if len(sources.found) == before:
        (first, *_) = sorted(_NAMES.get(kind, "") for kind in kinds if kind in _NAMES)
        raise InputError(where, expected=first, got=rest or "nothing", do=f"{do}." if do else "")
    if rest:
        sources.notes.append(f"{where}: {rest} left out{f' ({do})' if do else ''}")


def _plural(name: str, count: int) -> str:
    return name.removesuffix("s") if count == 1 else name
