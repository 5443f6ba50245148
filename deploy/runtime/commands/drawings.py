"""Pictures and videos with results drawn in."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from backends.files import atomic_write
from deploy.runtime.commands.output_folder import OutputFolder
from deploy.runtime.inputs.reading import Input
from deploy.runtime.inputs.sources import Source
from deploy.runtime.inputs.video_writer import VideoWriter


class Drawings:
    """A file for each source: a PNG of a picture, a video of a video or camera.

    A context manager that ends the last video.

    Args:
        folder: names the files.
    """

    def __init__(self, folder: OutputFolder) -> None:
        self._folder = folder
        self._video: tuple[Source, Path, VideoWriter] | None = None
        self._open = ExitStack()

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
            target = self._folder.new_file(item.source)
            with atomic_write(target) as part:
                drawn.save(part)
            return target
        if self._video is None or self._video[0] is not item.source:
            self._video = self._new_video(item.source, item.frame.rate)
        _, target, writer = self._video
        writer.add(np.asarray(drawn), item.frame.seconds)
        return target

    def _new_video(self, source: Source, rate: float) -> tuple[Source, Path, VideoWriter]:
        self._open.close()
        target = self._folder.new_file(source)
        part = self._open.enter_context(atomic_write(target))
        return source, target, self._open.enter_context(VideoWriter(part, rate))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._open.__exit__(kind, *rest)  # type: ignore[arg-type]  # as with passes them
