"""Videos and cameras give frames with their times; what is damaged gives its good ones first."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from deploy.runtime import MissingLibraryError, VideoError
from deploy.runtime.inputs.video import camera_frames, video_frames
from deploy.runtime.inputs.video_writer import VideoWriter

av = pytest.importorskip("av")

LENGTH = 20


def scene(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A bar that grows with the number, over a little noise, which does not compress away."""
    pixels = np.random.default_rng(number).integers(0, 80, (height, width, 3), dtype=np.uint8)
    pixels[:, : 3 * number + 1, 0] = 220
    return pixels


def write(path: Path, length: int = LENGTH, **size: int) -> Path:
    with VideoWriter(path, 25) as writer:
        for number in range(length):
            writer.add(scene(number, **size), number / 25)
    return path


def written_to_be_streamed(path: Path) -> Path:
    """A video whose index comes first, so that the beginning of the file is a video too."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size, stream.bit_rate = 1, 4_000_000
        for number in range(LENGTH):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scene(number), "rgb24")))
        container.mux(stream.encode())
    return path


def gather(frames, items):
    """As ``extend``, but what came before an error stays."""
    for item in items:
        frames.append(item)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_what_is_written_is_read_with_its_times(suffix, tmp_path):
    frames = list(video_frames(write(tmp_path / f"a{suffix}")))
    assert [frame.number for frame in frames] == list(range(LENGTH))
    assert [frame.seconds for frame in frames] == pytest.approx(np.arange(LENGTH) / 25, abs=1e-3)
    assert frames[0].rate == pytest.approx(25, rel=0.06)
    for number, frame in enumerate(frames):
        assert frame.pixels.shape == (48, 64, 3) and frame.pixels.dtype == np.uint8
        bar = (frame.pixels[:, :, 0] > 120).mean(0) > 0.5
        assert abs(int(bar.sum()) - (3 * number + 1)) <= 2


def test_each_nth_frame_keeps_its_number_and_time(tmp_path):
    frames = list(video_frames(write(tmp_path / "a.mp4"), every=8))
    assert [frame.number for frame in frames] == [0, 8, 16]
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.32, 0.64], abs=1e-3)
    assert frames[0].rate == pytest.approx(25 / 8, rel=0.06)


def test_times_between_frames_may_vary(tmp_path):
    times = [0.0, 0.1, 0.5, 0.51, 2.0]
    with VideoWriter(tmp_path / "a.mkv", 0) as writer:
        for number, seconds in enumerate(times):
            writer.add(scene(number), seconds)
    read = [frame.seconds for frame in video_frames(tmp_path / "a.mkv")]
    assert read == pytest.approx(times, abs=2e-3)


def test_odd_sides_are_written_with_an_edge_repeated(tmp_path):
    (frame, *_) = video_frames(write(tmp_path / "a.mp4", 2, height=47, width=63))
    assert frame.pixels.shape == (48, 64, 3)


IDENTITY = b"\0\1\0\0" + b"\0" * 12 + b"\0\1\0\0" + b"\0" * 12 + b"\x40\0\0\0"
QUARTER = b"\0" * 4 + b"\0\1\0\0" + b"\0" * 4 + b"\xff\xff\0\0" + b"\0" * 16 + b"\x40\0\0\0"


def test_a_video_of_a_phone_held_upright_is_upright(tmp_path):
    """The track's matrix says that players turn it by 90 degrees clockwise."""
    data = write(tmp_path / "a.mp4", 3).read_bytes()
    place = data.index(IDENTITY, data.index(b"tkhd"))
    (tmp_path / "b.mp4").write_bytes(data[:place] + QUARTER + data[place + len(QUARTER) :])
    (flat, *_), (upright, *_) = (video_frames(tmp_path / name) for name in ("a.mp4", "b.mp4"))
    np.testing.assert_array_equal(upright.pixels, np.rot90(flat.pixels, -1))


@pytest.mark.parametrize("make", [written_to_be_streamed, write], ids=["mp4", "mkv"])
def test_the_good_frames_of_a_video_that_breaks_off_come_before_the_error(make, tmp_path):
    whole = make(tmp_path / ("a.mp4" if make is written_to_be_streamed else "a.mkv"))
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) * 6 // 10])
    frames = []
    with pytest.raises(VideoError, match=r"video '.*' is damaged: \d+( of \d+)? frames are good"):
        gather(frames, video_frames(whole))
    assert LENGTH // 3 < len(frames) < LENGTH - 2
    assert [frame.number for frame in frames] == list(range(len(frames)))


def test_a_frame_that_is_damaged_is_left_out_and_the_others_are_read(tmp_path):
    whole = written_to_be_streamed(tmp_path / "a.mp4")
    data = bytearray(whole.read_bytes())
    with av.open(str(whole)) as container:
        packet = [packet for packet in container.demux() if packet.size][10]
    data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    whole.write_bytes(data)
    frames = []
    with pytest.raises(VideoError, match=rf"is damaged: {LENGTH - 1} of {LENGTH} frames are good"):
        gather(frames, video_frames(whole))
    assert [frame.number for frame in frames] == [n for n in range(LENGTH) if n != 10]


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    "data", [b"", b"hunter2", b"\0" * 5000, PLAYLIST, b"ffconcat version 1.0\nfile a.mp4\n"]
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_what_is_no_video_is_refused_and_no_list_of_others_is_followed(data, suffix, tmp_path):
    write(tmp_path / "a.mp4", 2)
    (tmp_path / f"b{suffix}").write_bytes(data)
    with pytest.raises(VideoError, match=r"video '.*b\.m..' cannot be opened: ") as raised:
        list(video_frames(tmp_path / f"b{suffix}"))
    assert "hunter2" not in str(raised.value)


def test_a_missing_file_and_one_with_sound_alone_are_named(tmp_path):
    with pytest.raises(VideoError, match=r"none\.mp4': expected a file, got nothing"):
        list(video_frames(tmp_path / "none.mp4"))
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="expected a video, got a file without pictures"):
        list(video_frames(tmp_path / "a.mkv"))


def test_a_camera_gives_frames_for_as_long_as_they_are_taken():
    """The source is FFmpeg's test pattern, which has no end either."""
    opened = []

    def pattern():
        opened.append(av.open("testsrc=size=64x48:rate=10", format="lavfi"))
        return opened[0]

    frames = camera_frames(0, every=2, open_camera=pattern)
    taken = list(islice(frames, 5))
    frames.close()
    assert [frame.number for frame in taken] == [0, 2, 4, 6, 8]
    assert [frame.seconds for frame in taken] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert taken[0].pixels.shape == (48, 64, 3)
    with pytest.raises(AssertionError, match="not open"):
        next(opened[0].demux())


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ("linux", "camera 99: expected a device /dev/video99, got none"),
        ("win32", "camera 99: expected a system of darwin or linux, got win32"),
    ],
)
def test_a_camera_that_is_not_there_is_named(system, message, monkeypatch):
    monkeypatch.setattr(sys, "platform", system)
    with pytest.raises(VideoError, match=message):
        camera_frames(99)


def test_a_camera_that_cannot_be_opened_is_named():
    def fail():
        raise OSError(16, "Device or resource busy")

    with pytest.raises(VideoError, match="camera 0 cannot be opened: Device or resource busy"):
        list(camera_frames(0, open_camera=fail))


def test_without_the_library_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").touch()
    message = r"videos need PyAV, which is not installed\. Run .* pip install '\.\[video\]'"
    with pytest.raises(MissingLibraryError, match=message):
        list(video_frames(tmp_path / "a.mp4"))
