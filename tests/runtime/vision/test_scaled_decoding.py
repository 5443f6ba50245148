"""Large pictures are decoded at a part of their size, and the tensor is almost the same."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from deploy.runtime.vision.image import Reduced, decode, load_image
from deploy.runtime.vision.pre import Pre
from deploy.runtime.vision.preprocess import Preprocessor

PRE = Pre("image", 240, 320, (0.0,) * 3, (1.0,) * 3, scaled_decoding=True)
WHOLE = replace(PRE, scaled_decoding=False)
WIDTH, HEIGHT = (
    1923,
    1081,
)  # no multiples of 8: the last column and row of a reduced one are partial
ORIENTATION = 0x0112


def scene(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Waves, finer to the right, and a block in a corner that tells how it lies."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    waves = [np.sin(x * x / width / 40 + y / divisor) for divisor in (17, 23, 31)]
    pixels = np.stack([127 + 100 * wave for wave in waves], axis=2).astype(np.uint8)
    pixels[: height // 4, : width // 4] = (255, 0, 0)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str = "JPEG", orientation: int = 1) -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif[ORIENTATION] = orientation
    image.save(file, kind, exif=exif, **({"quality": 92} if kind == "JPEG" else {}))
    return file.getvalue()


def tensors(pre: Pre, data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Of a picture as ``pre`` decodes it, and of all of its pixels."""
    made, whole = Preprocessor(pre), Preprocessor(replace(pre, scaled_decoding=False))
    (one, placement), (other, expected) = made(made.decode(data)), whole(whole.decode(data))
    assert placement == expected
    return one, other


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_large_jpeg_is_decoded_at_a_part_of_its_size_however_it_lies(orientation):
    data = encoded(scene(), orientation=orientation)
    decoded = Preprocessor(PRE).decode(data)
    assert isinstance(decoded, Reduced)
    turned = orientation > 4
    assert decoded.size == ((HEIGHT, WIDTH) if turned else (WIDTH, HEIGHT))
    assert decoded.image.size == ((271, 481) if turned else (962, 541))
    one, other = tensors(PRE, data)
    assert np.abs(one - other).max() <= 8 and np.abs(one - other).mean() < 0.2


@pytest.mark.parametrize(
    ("width", "least"), [(639, 639), (1279, 1279), (1280, 640), (2560, 640), (5120, 640)]
)
def test_at_least_twice_the_scaled_picture_is_decoded(width, least):
    data = encoded(Image.new("RGB", (width, width * 3 // 4)))
    decoded = Preprocessor(PRE).decode(data)
    assert (decoded.image if isinstance(decoded, Reduced) else decoded).size[0] == least


def test_a_part_of_a_reduced_picture_lies_where_that_of_the_whole_does():
    pre = replace(PRE, resize="crop", height=200, width=200, cover=(240, 240))
    one, other = tensors(pre, encoded(scene()))
    assert np.abs(one - other).max() <= 4
    narrow = replace(PRE, resize="crop", height=64, width=64)
    one, other = tensors(narrow, encoded(scene(5000, 500)))
    assert np.abs(one - other).max() <= 4


def test_grey_is_made_of_a_reduced_picture():
    grey = replace(PRE, order="grey", mean=(0.0,), std=(1.0,))
    one, other = tensors(grey, encoded(scene()))
    assert one.shape == (1, 1, 240, 320) and np.abs(one - other).max() <= 4


def test_other_formats_are_reduced_by_whole_factors():
    data = encoded(scene(), "PNG")
    assert not isinstance(Preprocessor(PRE).decode(data), Reduced)
    one, other = tensors(PRE, data)
    assert 0 < np.abs(one - other).max() <= 3


@pytest.mark.parametrize("pre", [WHOLE, replace(PRE, interpolation="nearest")])
def test_every_pixel_is_taken_where_the_bundle_says_so_or_the_nearest_counts(pre):
    data = encoded(scene())
    assert not isinstance(Preprocessor(pre).decode(data), Reduced)
    one, other = tensors(pre, data)
    assert (one == other).all()


def test_a_picture_that_hardly_shrinks_gives_the_same_tensor():
    one, other = tensors(PRE, encoded(scene(639, 479)))
    assert (one == other).all()


def test_a_reduced_picture_can_be_given_again():
    reduced = Preprocessor(PRE).decode(encoded(scene()))
    assert decode(reduced) is reduced
    assert load_image(reduced).shape == (541, 962, 3)
