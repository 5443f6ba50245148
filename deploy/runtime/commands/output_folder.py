"""The files that run writes, one for each source, none of them over another or over its source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backends.contract import DeployError
from deploy.runtime.inputs.sources import Source
from deploy.runtime.inputs.video_writer import VIDEO_SUFFIXES

VIDEOS = ("video", "camera")


class OutputFolder:
    """Names the file of each source.

    Args:
        out: a folder, which is made where there is none; or the file of the only video.
        sources: that will have a file.
        suffix: of the files; by default a picture's or a video's.

    Raises:
        DeployError: a file would replace its source; or the folder cannot be made; or one file is
            to hold several.
    """

    def __init__(self, out: Path, sources: Sequence[Source], suffix: str = "") -> None:
        self._out = out
        self._suffix = suffix
        self._used: set[str] = set()
        self._is_video = out.suffix.lower() in VIDEO_SUFFIXES and not out.is_dir()
        if self._is_video and not (len(sources) == 1 and sources[0].kind in VIDEOS):
            raise DeployError(
                f"--out '{out}'",
                expected="a folder, unless there is one video alone",
                got=f"a file {out.suffix}",
                do="Give a folder, such as --out results.",
            )
        for source in sources:
            if source.is_file and self._target(source).resolve() == source.path.resolve():
                raise DeployError(
                    f"--out '{out}'",
                    expected="another place",
                    got=f"one where '{source.name}' would be replaced",
                    do="Give a new folder, such as --out results.",
                )
        _make(out.parent if self._is_video else out)

    def _target(self, source: Source) -> Path:
        if self._is_video:
            return self._out
        return self._out / f"{source.target}{self._suffix or _suffix(source)}"

    def new_file(self, source: Source) -> Path:
        """The path of a source's file; numbered where two sources have the same name.

        Raises:
            DeployError: its folder cannot be made.
        """
        first = target = self._target(source)
        count = 1
        while str(target).casefold() in self._used:
            count += 1
            target = first.with_name(f"{first.stem}-{count}{first.suffix}")
        self._used.add(str(target).casefold())
        _make(target.parent)
        return target


def _suffix(source: Source) -> str:
    if source.kind not in VIDEOS:
        return ".png"
    return ".mkv" if source.path.suffix.lower() in (".mkv", ".webm") else ".mp4"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DeployError(f"--out '{folder}' cannot be written: {error.strerror}") from error
