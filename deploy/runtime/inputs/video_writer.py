"""Videos written frame by frame with PyAV, an optional library."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import numpy as np

from backends.contract import Array
from deploy.runtime.inputs.video import import_av

VIDEO_SUFFIXES = (".mp4", ".mkv")

_TICKS = 60_000  # in a second: whole numbers of them for every usual frame rate
_USUAL_RATE = 25.0  # where the video does not say


class VideoWriter:
    """A video of drawn frames, without sound; a context manager that ends the file.

    Args:
        path: to be written; its suffix, one of ``VIDEO_SUFFIXES``, is its format.
        rate: frames in a second, for players that want to know; 0 where it is not known.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self._av = import_av("videos")
        self._container = self._av.open(str(path.absolute()), "w")
        self._rate = Fraction(min(rate, 1000.0) or _USUAL_RATE).limit_denominator(1001)
        self._stream: Any = None
        self._last = -1

    def add(self, picture: Array, seconds: float) -> None:
        """Append a frame.

        Args:
            picture: (H, W, 3) uint8, RGB, of one size in all frames; another is resized.
            seconds: when it is shown, from 0 up.
        """
        if self._stream is None:
            self._stream = self._new_stream(picture)
        frame = self._av.VideoFrame.from_ndarray(_even(picture), format="rgb24")
        self._last = frame.pts = max(self._last + 1, round(seconds * _TICKS))
        frame.time_base = Fraction(1, _TICKS)
        self._container.mux(self._stream.encode(frame))

    def _new_stream(self, picture: Array) -> Any:
        codecs = self._av.codecs_available
        stream = self._container.add_stream(
            "libx264" if "libx264" in codecs else "mpeg4", rate=self._rate
        )
        stream.height, stream.width = _even(picture).shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _TICKS)
        return stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._stream is not None and kind is None:
            self._container.mux(self._stream.encode())
        self._container.close()


def _even(picture: Array) -> Array:
    """The picture with even sides, as the colours of the format need; an edge is repeated."""
    height, width = picture.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return picture
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
