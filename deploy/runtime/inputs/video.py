"""Frames of videos and cameras, read with PyAV, an optional library."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from backends.contract import Array, DeployError, MissingLibraryError, install_hint
from backends.files import not_regular

Open = Callable[[], Any]
"""Opens a container of PyAV."""

_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg,yuv4mpegpipe"
"""Containers that hold a video themselves: a playlist would open other files and addresses."""

_CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}:none")}


class VideoError(DeployError):
    """A video that cannot be opened or is damaged, or a camera that is not there."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of a video or camera.

    Attributes:
        number: from 0 up, counting the frames that were left out.
        seconds: since the first frame.
        rate: frames in a second, on average; 0 where it is not known.
        pixels: (H, W, 3) uint8, RGB, upright.
    """

    number: int
    seconds: float
    rate: float
    pixels: Array = field(repr=False)


def video_frames(path: Path, every: int = 1) -> Iterator[Frame]:
    """The frames of a video file.

    Args:
        path: of the file.
        every: each frame of this number, the first one included.

    Raises:
        MissingLibraryError: PyAV is not installed.
        VideoError: no video; or, behind its last good frame, it is damaged or cut off.
    """
    name = f"video '{path}'"
    if got := not_regular(path):
        raise VideoError(name, expected="a file", got=got)
    av = import_av("videos")
    with path.open("rb") as file:  # the library would take a path for an address
        yield from _frames(
            name, lambda: av.open(file, options={"format_whitelist": _FORMATS}), every
        )


def camera_frames(number: int, every: int = 1, open_camera: Open | None = None) -> Iterator[Frame]:
    """The frames of a camera, without an end.

    Args:
        number: of the camera, from 0 up.
        every: each frame of this number, the first one included.
        open_camera: opens it; by default as a video device of the system.

    Raises:
        MissingLibraryError: PyAV is not installed.
        VideoError: there is no such camera, or it was lost.
    """
    return _frames(f"camera {number}", open_camera or _system_camera(number), every)


def _system_camera(number: int) -> Open:
    if sys.platform not in _CAMERAS:
        systems = " or ".join(sorted(_CAMERAS))
        raise VideoError(f"camera {number}", expected=f"a system of {systems}", got=sys.platform)
    driver, device = _CAMERAS[sys.platform]
    address = device.format(number)
    if address.startswith("/") and not Path(address).exists():
        raise VideoError(f"camera {number}", expected=f"a device {address}", got="none")
    av = import_av("cameras")
    return lambda: av.open(address, format=driver)


def import_av(what: str) -> Any:
    """PyAV.

    Args:
        what: needs it.

    Raises:
        MissingLibraryError: it is not installed.
    """
    try:
        import av  # an optional library
    except ImportError as error:
        raise MissingLibraryError(
            f"{what} need PyAV, which is not installed", do=install_hint("video")
        ) from error
    return av


def _frames(name: str, open_container: Open, every: int) -> Iterator[Frame]:
    """The frames; an error behind them where some were not readable."""
    faults = _Faults()
    try:
        with closing(open_container()) as container:
            if not container.streams.video:
                raise VideoError(name, expected="a video", got="a file without pictures")
            yield from _upright(container, every, faults)
    except (OSError, ValueError) as error:  # PyAV's own errors are one or the other
        if not faults.packets:
            is_content = isinstance(error, ValueError)
            do = "It is no video, is damaged, or lacks its end." if is_content else ""
            raise VideoError(f"{name} cannot be opened: {_reason(error)}", do=do) from error
        faults.unreadable += 1
    if faults:
        raise VideoError(f"{name} is damaged: {faults}")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


@dataclass
class _Faults:
    """What of a video is missing.

    Attributes:
        packets: that were read.
        declared: how many there should be; 0 where it is not known.
        unreadable: packets that hold no frame, or a damaged one.
        decoded: frames that are good.
        ends_early: whether it is shorter than it says.
    """

    packets: int = 0
    declared: int = 0
    unreadable: int = 0
    decoded: int = 0
    ends_early: bool = False

    def __bool__(self) -> bool:
        return self.unreadable > 0 or self.packets < self.declared or self.ends_early

    def __str__(self) -> str:
        of = f" of {self.declared}" if self.declared else ""
        end = ", and its end is missing" if self.ends_early else ""
        return f"{self.decoded}{of} frames are good{end}"


class _Clock:
    """Compares the packets' times with the duration of a Matroska track, which counts no frames."""

    def __init__(self, stream: Any) -> None:
        self._duration = _seconds(stream.metadata.get("DURATION", ""))
        self._gap = 0.0
        self._last = 0.0

    def see(self, packet: Any) -> None:
        """Note the time of a packet."""
        if packet.pts is not None:
            now = float(packet.pts * packet.time_base)
            self._gap = max(self._gap, now - self._last)
            self._last = max(self._last, now)

    @property
    def is_early(self) -> bool:
        """Whether several frames are missing, however far apart they are."""
        return self._duration - self._last > 2 * self._gap


def _seconds(duration: str) -> float:
    """Of a text such as ``00:00:02.000000000``; 0 where it is none."""
    try:
        hours, minutes, seconds = duration.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except ValueError:
        return 0.0


def _upright(container: Any, every: int, faults: _Faults) -> Iterator[Frame]:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    rate = float(stream.average_rate or 0)
    faults.declared = stream.frames
    start: float | None = None
    for frame in _decoded(container, stream, faults):
        number = faults.decoded + faults.unreadable - 1
        if start is None:
            start = frame.time or 0.0
        if number % every == 0:
            seconds = number / (rate or 1) if frame.time is None else frame.time - start
            yield Frame(number, seconds, rate / every, _pixels(frame))


def _decoded(container: Any, stream: Any, faults: _Faults) -> Iterator[Any]:
    clock = _Clock(stream)
    for packet in container.demux(stream):
        clock.see(packet)
        faults.packets += packet.dts is not None or packet.size > 0  # the last one only flushes
        try:
            frames = packet.decode()
        except ValueError:  # goes on behind the damage
            faults.unreadable += 1
            continue
        for frame in frames:
            if frame.is_corrupt:
                faults.unreadable += 1
            else:
                faults.decoded += 1
                yield frame
    faults.ends_early = clock.is_early


def _pixels(frame: Any) -> Array:
    pixels: Array = frame.to_ndarray(format="rgb24")
    quarters = round(frame.rotation / 90) % 4  # anticlockwise
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels
