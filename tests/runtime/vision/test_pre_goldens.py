"""Pictures are prepared as torchvision, transformers' CLIP and Ultralytics prepare them.

tests/data/vision/make.py wrote the arrays with these libraries.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deploy.runtime.vision import resizing
from deploy.runtime.vision.geometry import Size, fit, scaled_size
from deploy.runtime.vision.pre import Pre
from deploy.runtime.vision.preprocess import Preprocessor

ARRAYS = dict(np.load(Path(__file__).parents[2] / "data" / "vision" / "pre.npz"))
PIXELS = Pre("image", 20, 20, (0.0,) * 3, (1.0,) * 3)
CROP = replace(PIXELS, resize="crop", cover=(23, 23))


@pytest.fixture(autouse=True)
def without_opencv(monkeypatch):
    """Which enlarges pictures faster, and differs by 1 of 255."""
    monkeypatch.setattr(resizing, "has_opencv", lambda: False)


def picture(height: int, width: int) -> np.ndarray:
    """As make.py has them."""
    state = np.random.RandomState(height * 1000 + width)
    return state.randint(0, 256, (height, width, 3)).astype(np.uint8)


def of(key: str) -> np.ndarray:
    height, _, width = key.rpartition("/")[2].partition("x")
    return picture(int(height), int(width))


def keys(kind: str) -> list[str]:
    return [key for key in ARRAYS if key.startswith(f"{kind}/")]


def as_pixels(pre: Pre, key: str) -> np.ndarray:
    return Preprocessor(pre, "uint8")(of(key))[0][0]


@pytest.mark.parametrize("key", keys("crop"))
def test_the_middle_is_that_of_torchvision(key):
    made = as_pixels(replace(CROP, interpolation=key.split("/")[1]), key)
    is_long = key.endswith("1x60")  # of which the middle alone is scaled
    np.testing.assert_allclose(made.astype(int), ARRAYS[key], atol=1 if is_long else 0)


@pytest.mark.parametrize("key", keys("stretch"))
def test_stretching_is_torchvisions_resize(key):
    pre = replace(PIXELS, width=12, resize="stretch", interpolation=key.split("/")[1])
    np.testing.assert_array_equal(as_pixels(pre, key), ARRAYS[key])


def test_a_picture_narrower_than_the_crop_lies_in_its_middle():
    made = as_pixels(replace(CROP, width=31), "wide/20x20")
    np.testing.assert_array_equal(made, ARRAYS["wide/20x20"])


def test_grey_is_torchvisions_grayscale():
    pre = replace(PIXELS, resize="stretch", order="grey", mean=(0.0,), std=(1.0,))
    np.testing.assert_array_equal(as_pixels(pre, "grey/37x53"), ARRAYS["grey/37x53"])


def test_mean_and_std_are_those_of_torchvisions_normalize():
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    tensor, _ = Preprocessor(replace(CROP, mean=mean, std=std))(of("imagenet/37x53"))
    np.testing.assert_allclose(tensor[0], ARRAYS["imagenet/37x53"], atol=0.02)


@pytest.mark.parametrize("key", keys("clip"))
def test_clip_is_that_of_transformers(key):
    pre = replace(
        CROP,
        cover=(20, 20),
        interpolation="bicubic",
        mean=(122.7709383, 116.7460125, 104.09373615),
        std=(68.5005327, 66.6321579, 70.32316305),
    )
    tensor, _ = Preprocessor(pre)(of(key))
    np.testing.assert_allclose(tensor[0], ARRAYS[key], atol=0.02)


def test_a_centred_letterbox_lies_where_ultralytics_puts_it():
    pre = replace(PIXELS, height=64, width=48, align="centre")
    rows = [row for row in ARRAYS["letterbox"].tolist() if row[2] >= 0]
    for height, width, *filled in rows:
        placed = fit(pre, scaled_size(pre, Size(width, height)), Size(48, 64)).in_tensor
        assert [placed.top, placed.bottom, placed.left, placed.right] == filled, (height, width)
    assert len(rows) > 290
