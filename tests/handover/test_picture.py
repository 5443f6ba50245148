"""The numbers of a picture's steps are enough: code that knows them alone makes the same tensor."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from backends.codec import to_json
from backends.contract import Dynamic, TensorSpec
from deploy.handover.picture import picture_facts
from deploy.runtime.vision.pre import Pre
from deploy.runtime.vision.preprocess import Preprocessor
from tests.handover.app.pictures import prepare

RGB = {"mean": (120.0, 110.0, 100.0), "std": (50.0, 60.0, 70.0)}


@pytest.mark.parametrize("size", [(97, 61), (61, 97), (20, 10), (48, 32)])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"align": "centre", "pad": 114.0, "order": "bgr"},
        {"pad": (1.0, 2.0, 3.0), "layout": "nhwc", "interpolation": "nearest"},
        {"resize": "stretch", "interpolation": "lanczos"},
        {"resize": "crop", "interpolation": "bicubic"},
        {"resize": "crop", "cover": (40, 60)},
        {"order": "grey", "mean": (3.0,), "std": (2.0,)},
    ],
)
def test_a_tensor_is_made_of_the_numbers_alone(tmp_path, size, changes):
    pre = Pre("image", 32, 48, **{**RGB, **changes})
    spec = TensorSpec("image", "float32", pre.shape(1, 32, 48))
    facts = json.loads(json.dumps(to_json(picture_facts(pre, (spec,)))))
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    picture = Image.fromarray(pixels)
    picture.save(tmp_path / "picture.png")
    expected, placement = Preprocessor(pre)(picture)
    tensor, place = prepare(facts, tmp_path / "picture.png")
    assert np.abs(tensor - expected).max() <= 1.01 / min(pre.std)  # a pixel more or less
    assert np.isclose(tensor, expected, atol=1e-5).mean() > 0.5
    box = np.array([[1.0, 2.0, 30.0, 20.0]])
    np.testing.assert_allclose(place.back(box), placement.boxes_back(box), rtol=1e-5)


def test_the_words_have_all_numbers():
    height, width = Dynamic("h", 32, 320, 640, 32), Dynamic("w", 32, 320, 640, 32)
    pre = Pre("image", 640, 640, **RGB, multiple=32, values={"scale": ("scale_y", 2.0)})
    specs = (
        TensorSpec("image", "float32", (1, 3, height, width)),
        TensorSpec("scale", "float32", (1, 2)),
    )
    text = " ".join(picture_facts(pre, specs).steps)
    assert "s = min(640 / height, 640 / width)" in text
    assert "W = min(640, max(32, 32 * ceil(scaled_width / 32)))" in text
    assert "mean 120.0, 110.0, 100.0, std 50.0, 60.0, 70.0" in text
    assert "Give the input 'scale' the row [scale_y, 2.0]" in text


def test_pixels_stay_as_they_are_for_an_input_of_pixels():
    pre = Pre("image", 8, 8, (0.0,), (1.0,), order="grey", resize="crop", cover=(10, 10))
    text = " ".join(picture_facts(pre, (TensorSpec("image", "uint8", (1, 1, 8, 8)),)).steps)
    assert "with the pixels as they are" in text
    assert "where width * 10 <= height * 10" in text
    assert "19595 * red" in text


def test_the_words_say_that_large_pictures_may_be_decoded_smaller():
    pre = Pre("image", 32, 48, **RGB, scaled_decoding=True)
    spec = TensorSpec("image", "float32", (1, 3, 32, 48))
    assert "which is faster and optional" in " ".join(picture_facts(pre, (spec,)).steps)
    whole = replace(pre, scaled_decoding=False)
    assert "optional" not in " ".join(picture_facts(whole, (spec,)).steps)
