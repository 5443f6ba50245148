"""What run writes into its output folder: pictures and videos with results drawn in."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from backends.contract import DeployError
from backends.files import atomic_write
from deploy.runtime.inputs.reading import Input
from deploy.runtime.inputs.sources import Source
from deploy.runtime.inputs.video_writer import VIDEO_SUFFIXES, VideoWriter

_VIDEOS = ("video", "camera")


class Drawings:
    """A file for each source: a PNG of a picture, a video of a video or camera.

    A context manager that ends the last video.

    Args:
        out: a folder, which is made where there is none; or the file of the only video.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._is_file = out.suffix.lower() in VIDEO_SUFFIXES and not out.is_dir()
        self._used: set[str] = set()
        self._video: tuple[Source, Path, VideoWriter] | None = None
        self._open = ExitStack()

    def check(self, sources: Iterable[Source]) -> None:
        """Make the folder, and refuse to replace what is drawn on.

        Raises:
            DeployError: a drawing would replace its picture; or the folder cannot be made; or one
                file is to hold several drawings.
        """
        for number, source in enumerate(sources):
            if self._is_file and (number or source.kind not in _VIDEOS):
                raise DeployError(
                    f"--out '{self._out}'",
                    expected="a folder, as not one video alone is drawn",
                    got=f"a file {self._out.suffix}",
                    do="Give a folder.",
                )
            if source.kind != "camera" and self._target(source).resolve() == source.path.resolve():
                raise DeployError(
                    f"--out '{self._out}'",
                    expected="another folder",
                    got=f"the one where '{source.name}' would be replaced",
                    do="Give a new folder, such as --out drawings.",
                )
        self._make_folder(self._out.parent if self._is_file else self._out)

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DeployError(f"--out '{folder}' cannot be written: {error.strerror}") from error

    def _target(self, source: Source) -> Path:
        if self._is_file:
            return self._out
        is_video = source.kind in _VIDEOS
        keeps = is_video and source.path.suffix.lower() in (".mkv", ".webm")
        suffix = (".mkv" if keeps else ".mp4") if is_video else ".png"
        return self._out / f"{source.target}{suffix}"

    def _unused_target(self, source: Source) -> Path:
        """Another name where two sources have one of the same name."""
        first = target = self._target(source)
        count = 1
        while str(target).casefold() in self._used:
            count += 1
            target = first.with_stem(f"{first.stem}-{count}")
        self._used.add(str(target).casefold())
        self._make_folder(target.parent)
        return target

    def add(self, item: Input, drawn: Image.Image) -> Path:
        """Write a drawing.

        Args:
            item: what was drawn on; the frames of a source one after the other.
            drawn: in its size.

        Returns:
            The file that it is in.

        Raises:
            OSError: it cannot be written.
        """
        if item.frame is None:
            target = self._unused_target(item.source)
            with atomic_write(target) as part:
                drawn.save(part)
            return target
        if self._video is None or self._video[0] is not item.source:
            self._open_video(item.source, item.frame.rate)
        assert self._video is not None
        _, target, writer = self._video
        writer.add(np.asarray(drawn), item.frame.seconds)
        return target

    def _open_video(self, source: Source, rate: float) -> None:
        self._open.close()
        target = self._unused_target(source)
        part = self._open.enter_context(atomic_write(target))
        self._video = source, target, self._open.enter_context(VideoWriter(part, rate))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._open.__exit__(kind, *rest)  # type: ignore[arg-type]  # as with passes them
