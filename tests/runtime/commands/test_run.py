"""What run prints, writes and refuses, for every kind of input."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from deploy.runtime import EngineError
from deploy.runtime.__main__ import main
from deploy.runtime.bundle.manifest import read_manifest, write_manifest
from deploy.runtime.commands.cancellation import first_interrupt_ends
from deploy.runtime.inputs import reading
from deploy.runtime.inputs.video import Frame
from deploy.runtime.pipeline import Pipeline
from tests.conftest import made_here
from tests.fuzzing import seed_bundles


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> Path:
    """A bundle that takes pictures."""
    bundle = tmp_path_factory.mktemp("detector") / "bundle"
    seed_bundles.detector(bundle)
    return made_here(bundle)


@pytest.fixture(scope="module")
def tanh(tmp_path_factory) -> Path:
    """A bundle that takes tensors."""
    bundle = tmp_path_factory.mktemp("tensors") / "bundle"
    seed_bundles.writer(bundle)
    return made_here(bundle)


def scene(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(["a.png", "b.bmp", "sub/a.png"]):
        path = Path("photos", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        scene(number).save(path)
    return Path("photos")


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["run", *map(str, words)])
    return ended.value.code


def rows(file: str) -> list[dict[str, object]]:
    return json.loads(Path(file).read_text())


def test_a_folder_gives_what_calls_give_in_order(detector, photos, capsys):
    assert run(detector, photos, "--json", "found.json", "--recursive") == 0
    with Pipeline.open(detector) as pipeline:
        names = ["photos/a.png", "photos/b.bmp", "photos/sub/a.png"]
        assert rows("found.json") == [
            {"image": name, "detections": pipeline(name).to_json(("thing",))} for name in names
        ]
    printed = capsys.readouterr().out
    assert [printed.index(f"{name}: ") for name in names] == sorted(
        printed.index(f"{name}: ") for name in names
    )
    assert printed.endswith("3 pictures\n")


def test_a_folder_says_what_is_left_out(detector, photos, capsys):
    assert run(detector, photos) == 0
    assert "note: folder 'photos': 1 folder left out (--recursive" in capsys.readouterr().err


def test_what_cannot_be_read_is_reported_in_its_place_and_the_others_are_done(
    detector, photos, capsys
):
    (photos / "aa.png").write_bytes(b"no picture")
    assert run(detector, photos, "none.png", "--json", "found.json", "--jsonl", "found.jsonl") == 1
    found = rows("found.json")
    assert [row["image"] for row in found] == [
        "photos/a.png",
        "photos/aa.png",
        "photos/b.bmp",
        "none.png",
    ]
    assert ["error" in row for row in found] == [False, True, False, True]
    assert [json.loads(line) for line in Path("found.jsonl").read_text().splitlines()] == found
    printed = capsys.readouterr()
    assert printed.err.count("error: ") == 2
    assert printed.out.endswith("2 pictures; 2 errors\n")


def test_where_nothing_can_be_read_the_report_says_so(detector, photos):
    assert run(detector, "none.png", "--json", "found.json") == 1
    assert [row["error"] for row in rows("found.json")] == [
        "picture 'none.png': expected a file, got nothing"
    ]


@pytest.mark.parametrize("format_", ["--json", "--jsonl"])
def test_standard_output_is_json_alone_on_request(format_, detector, photos, capsys):
    assert run(detector, photos, format_, "-") == 0
    printed = capsys.readouterr().out
    lines = [json.loads(printed)] if format_ == "--json" else map(json.loads, printed.splitlines())
    found = lines[0] if format_ == "--json" else list(lines)
    assert [row["image"] for row in found] == ["photos/a.png", "photos/b.bmp"]


def test_a_picture_comes_on_standard_input(detector, photos, monkeypatch):
    data = (photos / "a.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=bool))
    assert run(detector, "-", photos / "a.png", "--json", "found.json", "--out", "drawn") == 0
    (piped, file) = rows("found.json")
    assert (piped["image"], piped["drawing"]) == ("-", "drawn/standard-input.png")
    assert piped["detections"] == file["detections"]


def test_a_terminal_is_no_picture(detector, photos, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    assert run(detector, "-") == 1
    assert "standard input: expected a picture, got a terminal" in capsys.readouterr().err


def test_drawings_of_one_name_have_a_number_and_folders_stay_apart(detector, photos):
    words = [photos, photos / "a.png", "--recursive", "--out", "drawn", "--json", "found.json"]
    assert run(detector, *words) == 0
    drawn = [row["drawing"] for row in rows("found.json")]
    assert drawn == ["drawn/a.png", "drawn/b.png", "drawn/sub/a.png", "drawn/a-2.png"]
    assert all(Image.open(path).size == (24, 20) for path in drawn)


@pytest.mark.parametrize("out", ["photos", "photos/sub/.."])
def test_a_picture_is_never_replaced_by_its_drawing(out, detector, photos):
    before = (photos / "a.png").read_bytes()
    message = f"error: --out '{out}': expected another place, got one where 'photos/a.png' would"
    assert str(run(detector, photos, "--out", out)).startswith(message)
    assert (photos / "a.png").read_bytes() == before


def test_the_folder_of_earlier_drawings_is_left_out(detector, photos):
    for _ in range(2):
        words = [photos, "--recursive", "--out", photos / "drawn", "--json", "found.json"]
        assert run(detector, *words) == 0
        assert len(rows("found.json")) == 3


def test_a_limit_ends_the_run(detector, photos):
    assert run(detector, photos, "--limit", 1, "--json", "found.json") == 0
    assert [row["image"] for row in rows("found.json")] == ["photos/a.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["s.npz"], "bundle of 'fuzzed': expected pictures, got 's.npz'. In Python, pipeline({"),
        (["photos/*.gif"], "pattern 'photos/*.gif': expected pictures, got nothing"),
        (["https://a.b/c.png"], "picture: expected a file, got a URL"),
        (["photos", "--out", "a.mp4"], "expected a folder, unless there is one video alone"),
        (["photos", "--json", "none/found.json"], "'none/found.json' cannot be written: No such"),
        (["photos", "--jsonl", "photos"], "'photos' cannot be written: it is a folder"),
        (["photos", "--out", "photos/a.png"], "'photos/a.png' cannot be written: File exists"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(words, message, detector, photos):
    text = run(detector, *words)
    assert text.startswith("error: ") and message in text and "\n" not in text


def test_json_is_whole_where_a_step_fails(detector, photos, monkeypatch, capsys):
    def one_picture(self, pictures, **_):
        yield self(next(pictures))
        raise EngineError("it broke")

    monkeypatch.setattr(Pipeline, "stream", one_picture)
    assert run(detector, photos, "--json", "-") == "error: it broke"
    assert len(json.loads(capsys.readouterr().out)) == 1
    Path("found.json").write_text("before")
    assert run(detector, photos, "--json", "found.json") == "error: it broke"
    assert Path("found.json").read_text() == "before"


def frames(count: int) -> list[Frame]:
    return [Frame(n, n / 10, 10.0, np.asarray(scene(n))) for n in range(count)]


def test_rows_of_a_camera_have_number_and_time_and_a_frame_rate_is_shown(
    detector, photos, monkeypatch, capsys
):
    monkeypatch.setattr(reading, "camera_frames", lambda number, every: iter(frames(6)[::every]))
    pytest.importorskip("av")
    assert run(detector, "camera:0", "--every", 2, "--json", "found.json") == 0
    assert [(row["image"], row["frame"], row["seconds"]) for row in rows("found.json")] == [
        ("camera:0", 0, 0.0),
        ("camera:0", 2, 0.2),
        ("camera:0", 4, 0.4),
    ]
    printed = capsys.readouterr().out
    assert "camera:0, frame 2 (0.200 s): " in printed
    assert printed.splitlines()[-1].startswith("3 frames, ")
    assert printed.endswith(" frames per second\n")


def test_ctrl_c_ends_a_camera_and_what_was_done_stays(detector, photos, monkeypatch):
    pytest.importorskip("av")

    def endless(number: int, every: int):
        for n in range(1000):
            if n == 3:
                os.kill(os.getpid(), signal.SIGINT)
            yield Frame(n, n / 10, 10.0, np.asarray(scene(n)))

    monkeypatch.setattr(reading, "camera_frames", endless)
    assert run(detector, "camera:0", "--json", "found.json", "--out", "seen.mkv") == 0
    assert [row["frame"] for row in rows("found.json")] == [0, 1, 2]
    assert Path("seen.mkv").stat().st_size > 0


def test_a_second_ctrl_c_is_not_taken():
    before = signal.getsignal(signal.SIGINT)
    with first_interrupt_ends(True) as ended:
        assert not ended()
        os.kill(os.getpid(), signal.SIGINT)
        assert ended()
        assert signal.getsignal(signal.SIGINT) is before
    with first_interrupt_ends(False) as ended:
        assert signal.getsignal(signal.SIGINT) is before and not ended()


def test_another_thread_takes_no_signal():
    seen = []

    def work():
        with first_interrupt_ends(True) as ended:
            seen.append(ended())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def video(path: str, count: int = 9) -> Path:
    writer = pytest.importorskip("deploy.runtime.inputs.video_writer")
    pytest.importorskip("av")
    with writer.VideoWriter(Path(path), 10) as opened:
        for n in range(count):
            opened.add(np.asarray(scene(n)), n / 10)
    return Path(path)


def test_a_video_is_drawn_with_its_times_and_given_as_rows(detector, photos, capsys):
    from deploy.runtime.inputs.video import video_frames

    clip = video("clip.mkv")
    words = [clip, "--every", 3, "--out", "drawn", "--json", "found.json"]
    assert run(detector, *words) == 0
    found = rows("found.json")
    assert [row["frame"] for row in found] == [0, 3, 6]
    assert [row["seconds"] for row in found] == pytest.approx([0, 0.3, 0.6], abs=2e-3)
    drawn = list(video_frames(Path("drawn/clip.mkv")))
    assert [frame.seconds for frame in drawn] == pytest.approx([0, 0.3, 0.6], abs=2e-3)
    assert capsys.readouterr().out.splitlines()[-1].startswith("3 frames, ")


def test_one_video_may_be_drawn_into_a_file_and_pictures_beside_it_are_counted(
    detector, photos, capsys
):
    clip = video("clip.mp4")
    assert run(detector, clip, "--out", "drawn.mp4") == 0
    assert Path("drawn.mp4").stat().st_size > 0
    assert run(detector, clip, photos, "--limit", 10) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("9 frames, ") and last.endswith(" frames per second; 1 picture")


def test_the_good_frames_of_a_damaged_video_are_done(detector, photos, capsys):
    clip = video("clip.mkv", 40)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    words = [clip, "photos/a.png", "--json", "found.json", "--out", "drawn"]
    assert run(detector, *words) == 1
    *good, error, picture = rows("found.json")
    assert 5 < len(good) < 35 and all("detections" in row for row in good)
    assert "video 'clip.mkv' is damaged" in error["error"]
    assert picture["image"] == "photos/a.png" and "detections" in picture
    assert capsys.readouterr().err.count("error: ") == 1
    assert Path("drawn/clip.mkv").stat().st_size > 0


def test_without_the_library_a_video_is_refused_before_anything_is_run(
    detector, photos, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "av", None)
    Path("clip.mp4").touch()
    text = run(detector, photos, "clip.mp4")
    assert "videos and cameras need PyAV, which is not installed. Run in the repository" in text
    assert capsys.readouterr().out == ""


def test_a_bundle_without_post_processing_gives_what_the_chain_gives(
    detector, photos, tmp_path, capsys
):
    bundle = tmp_path / "maps"
    shutil.copytree(detector, bundle)
    manifest = replace(read_manifest(bundle), post=None)
    write_manifest(bundle, manifest)
    made_here(bundle)
    assert run(bundle, photos, "--json", "found.json") == 0
    first, second = rows("found.json")
    assert (first["image"], second["image"]) == ("photos/a.png", "photos/b.bmp")
    assert first["outputs"]["a"]["shape"] == [1, 18, 1, 1]
    assert "photos/a.png: 3 outputs\n  a                float32[1, 18, 1, 1]  " in (
        capsys.readouterr().out
    )


X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 3, 4)


def test_tensors_give_the_range_of_each_output_and_the_outputs(tanh, photos, capsys):
    np.savez("s.npz", x=X)
    words = ["s.npz", "s.npz", "--out", "outputs", "--json", "found.json"]
    assert run(tanh, *words) == 0
    with Pipeline.open(tanh) as pipeline:
        tokens = pipeline({"x": X})["tokens"]
    low, high, shape = tokens.min(), tokens.max(), list(tokens.shape)
    assert f"s.npz: 1 output\n  tokens           int64{shape}  {low} to {high}\n" in (
        capsys.readouterr().out
    )
    summary = {"dtype": "int64", "shape": shape, "min": low, "max": high}
    assert rows("found.json") == [
        {"file": "s.npz", "outputs": {"tokens": summary}, "written": f"outputs/{name}.npz"}
        for name in ("s", "s-2")
    ]
    with np.load("outputs/s.npz") as stored:
        np.testing.assert_array_equal(stored["tokens"], tokens)


def test_a_folder_of_tensors_is_run_and_others_are_reported(tanh, photos, capsys):
    Path("in").mkdir()
    np.savez("in/a.npz", x=X.astype(float))
    np.savez("in/b.npz", x=X)
    Path("in/c.npz").write_bytes(b"nothing")
    assert run(tanh, "in", "--json", "found.json") == 1
    assert ["error" in row for row in rows("found.json")] == [True, False, True]
    assert capsys.readouterr().err.count("error: tensors 'in/") == 2


def test_the_sample_of_a_bundle_is_one_of_its_tensors(tanh, photos):
    assert run(tanh, tanh / "sample" / "tensors.npz") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["photos/a.png"], "expected tensors: 'x' float32[1, 3, 4], got 'photos/a.png'. Give an"),
        (["-"], "got a picture on standard input"),
        (["camera:0"], "got 'camera:0'"),
        (["photos"], "folder 'photos': expected tensors (.npz), got 2 other files and 1 folder"),
        (["s.npz", "--out", "."], "--out '.': expected another place, got one where 's.npz' would"),
    ],
)
def test_pictures_are_refused_where_tensors_are_taken(words, message, tanh, photos):
    np.savez("s.npz", x=X)
    assert message in run(tanh, *words)
