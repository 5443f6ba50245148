"""Words become sources: files, folders, patterns, cameras, standard input; the rest is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.runtime import ImageError, InputError
from deploy.runtime.inputs.sources import find_sources


@pytest.fixture
def empty_photos(tmp_path: Path, monkeypatch) -> Path:
    names = "b.JPG a.png c.txt .hidden.png e.npz clip.mp4 sub/d.webp sub/deeper/f.bmp drawn/a.png"
    for name in names.split():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return Path("photos")


def names(*words: object, **options: object) -> list[str]:
    return [source.name for source in find_sources(words, **options).found]


def test_a_folder_is_its_pictures_sorted_and_what_is_left_out_is_counted(empty_photos):
    sources = find_sources([empty_photos])
    assert [source.name for source in sources.found] == ["photos/a.png", "photos/b.JPG"]
    assert sources.notes == [
        "folder 'photos': 4 other files and 2 folders left out "
        "(--recursive takes the folders in it)"
    ]


def test_a_folder_is_entered_on_request_but_for_that_of_the_results(empty_photos):
    sources = find_sources([empty_photos], recursive=True, exclude=empty_photos / "drawn")
    assert [(source.name, source.target) for source in sources.found] == [
        ("photos/a.png", "a"),
        ("photos/b.JPG", "b"),
        ("photos/sub/d.webp", "sub/d"),
        ("photos/sub/deeper/f.bmp", "sub/deeper/f"),
    ]
    assert sources.notes == ["folder 'photos': 4 other files left out"]


def test_a_folder_is_its_tensors_where_those_are_wanted(empty_photos):
    assert names(empty_photos, wanted="tensors") == ["photos/e.npz"]


def test_a_pattern_matches_pictures_and_videos_and_may_enter_folders(empty_photos):
    assert names("photos/*") == ["photos/a.png", "photos/b.JPG", "photos/clip.mp4"]
    assert names("photos/**/*.webp") == ["photos/sub/d.webp"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(empty_photos):
    (empty_photos / "a[1].png").touch()
    assert names("photos/a[1].png") == ["photos/a[1].png"]


def test_files_stand_for_themselves_in_their_order_whether_there_or_not(empty_photos):
    sources = find_sources(["photos/clip.mp4", "none.png", "photos/e.npz", "photos/c.txt"]).found
    assert [source.kind for source in sources] == ["video", "picture", "tensors", "texts"]
    assert [source.target for source in sources] == ["clip", "none", "e", "c"]


def test_a_camera_and_standard_input_have_words_of_their_own():
    camera, standard_input = find_sources(["camera:2", "-"]).found
    assert (camera.kind, camera.camera, camera.is_file) == ("camera", 2, False)
    assert (standard_input.kind, standard_input.is_file) == ("standard input", False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["photos/sub/deeper/*.png"], r"pattern '.*': expected pictures, got nothing"),
        (["photos/*.txt"], r"pattern '.*': expected pictures, got 1 other file"),
        (["empty"], "folder 'empty': expected pictures, got nothing"),
        (["nested"], "expected pictures, got 1 folder. --recursive takes the folders in it"),
        (["-", "photos", "-"], "standard input: expected - once, got - several times"),
    ],
)
def test_where_there_is_nothing_to_run_it_is_said(empty_photos, words, message):
    Path("empty").mkdir()
    Path("nested/folder").mkdir(parents=True)
    with pytest.raises(InputError, match=message):
        find_sources(words)


@pytest.mark.parametrize("url", ["http://a.b/c.jpg", "rtsp://u:pw@cam/1", "s3://x/y.png"])
def test_a_url_is_refused_and_not_shown(url):
    message = r"picture: expected a file, got a URL\. Download it first: nothing is downloaded"
    with pytest.raises(ImageError, match=message) as raised:
        find_sources([url])
    assert url not in str(raised.value)
