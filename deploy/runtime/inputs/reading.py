"""Sources read one after the other: pictures, and the frames of videos and cameras."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from deploy.runtime.inputs.sources import InputError, Source
from deploy.runtime.inputs.video import Frame, camera_frames, video_frames
from deploy.runtime.vision.image import Picture, read_encoded


@dataclass(frozen=True, slots=True)
class Input:
    """A picture to be run, and where it comes from.

    Attributes:
        source: where it comes from.
        picture: as a pipeline takes it.
        frame: which frame of a video or camera it is; None for other pictures.
    """

    source: Source
    picture: Picture
    frame: Frame | None = None

    def __str__(self) -> str:
        """Such as ``street.jpg``, or ``street.mp4, frame 12 (0.480 s)``."""
        if self.source.kind == "standard input":
            return self.source.kind
        if self.frame is None:
            return self.source.name
        return f"{self.source.name}, frame {self.frame.number} ({self.frame.seconds:.3f} s)"


def read_pictures(source: Source, every: int = 1) -> Iterator[Input]:
    """The pictures of a source; the file of a picture is not opened yet.

    Args:
        source: a picture, video or camera.
        every: of a video or camera each frame of this number, the first one included.

    Raises:
        DeployError: a video is damaged, behind its last good frame; or cannot be opened; or there
            is no such camera.
    """
    return _READERS[source.kind](source, every)


def _picture(source: Source, every: int) -> Iterator[Input]:
    yield Input(source, source.path)


def _standard_input(source: Source, every: int) -> Iterator[Input]:
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError(
            "standard input", expected="a picture", got="a terminal", do="Redirect a file to it."
        )
    yield Input(source, read_encoded(sys.stdin.buffer))


def _video(source: Source, every: int) -> Iterator[Input]:
    for frame in video_frames(source.path, every):
        yield Input(source, frame.pixels, frame)


def _camera(source: Source, every: int) -> Iterator[Input]:
    for frame in camera_frames(source.camera, every):
        yield Input(source, frame.pixels, frame)


def _no_picture(source: Source, every: int) -> Iterator[Input]:
    raise InputError(f"'{source.name}'", expected="a picture or a video", got=source.kind)


_READERS: dict[str, Callable[[Source, int], Iterator[Input]]] = {
    "picture": _picture,
    "standard input": _standard_input,
    "video": _video,
    "camera": _camera,
    "tensors": _no_picture,
    "texts": _no_picture,
}
