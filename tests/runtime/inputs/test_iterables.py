"""A stream takes an iterable of pictures, or a text that stands for some; never one picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy.runtime import ImageError, read_inputs
from deploy.runtime.inputs.iterables import each_picture

PIXELS = np.full((4, 5, 3), 7, np.uint8)


def png(path: Path) -> Path:
    Image.fromarray(PIXELS).save(path)
    return path


def test_a_text_or_path_stands_for_the_pictures_in_it(tmp_path):
    paths = [png(tmp_path / name) for name in ("a.png", "b.png")]
    assert list(each_picture(str(tmp_path))) == list(each_picture(tmp_path)) == paths
    assert list(each_picture(str(tmp_path / "[b]*.png"))) == paths[1:]


def test_inputs_have_the_names_of_where_they_come_from(tmp_path):
    paths = [png(tmp_path / name) for name in ("a.png", "b.png")]
    assert [str(item) for item in read_inputs(tmp_path)] == list(map(str, paths))
    assert [item.picture for item in read_inputs([paths[1], tmp_path])] == [paths[1], *paths]


def test_an_opened_file_may_be_closed_once_the_next_picture_is_taken(tmp_path):
    def opened():
        for name in ("a.png", "b.png"):
            with png(tmp_path / name).open("rb") as file:
                yield file

    pictures = list(each_picture(opened()))
    assert pictures == [(tmp_path / name).read_bytes() for name in ("a.png", "b.png")]


def test_pictures_of_other_kinds_are_passed_on_as_they_are():
    pictures = [PIXELS, Image.fromarray(PIXELS), b"1", "a.png", Path("a.png")]
    assert all(one is other for one, other in zip(each_picture(pictures), pictures, strict=True))


@pytest.mark.parametrize(
    ("single", "kind"),
    [
        (PIXELS, "one ndarray"),
        (b"12", "one bytes"),
        (memoryview(b"12"), "one memoryview"),
        (Image.new("RGB", (2, 2)), "one Image"),
        ({"image": PIXELS}, "one dict"),
        (io.BytesIO(b"12"), "one BytesIO"),
        (None, "NoneType"),
        (7, "int"),
    ],
)
def test_a_single_picture_is_refused(single, kind):
    message = f"pictures of a stream: expected an iterable of pictures, .* got {kind}"
    with pytest.raises(ImageError, match=message):
        each_picture(single)


def test_an_array_of_pictures_is_one_after_the_other():
    assert len(list(each_picture(np.stack([PIXELS] * 3)))) == 3
