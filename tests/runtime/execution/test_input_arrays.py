"""Tensors and pictures of any dtype, shape and memory layout: taken as they are, or refused."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from backends.contract import TensorError
from deploy.runtime import ImageError
from deploy.runtime.execution.chain import Chain
from deploy.runtime.vision.image import load_image
from tests.helpers.commands import BACKENDS
from tests.helpers.digit_scenes import SCENE, SCENES
from tests.helpers.runtime_chains import as_bytes, converted_conv, is_finite, noise, read_only, spec

REFUSED_TENSORS = {
    "float64": (lambda x: x.astype("f8"), r"float64\[1, 3, 8, 12\]"),
    "float16": (lambda x: x.astype("f2"), r"float16\[1, 3, 8, 12\]"),
    "whole numbers": (lambda x: x.astype("u1"), r"uint8\[1, 3, 8, 12\]"),
    "truth values": (lambda x: x > 0, r"bool\[1, 3, 8, 12\]"),
    "complex numbers": (lambda x: x.astype("c8"), r"complex64\[1, 3, 8, 12\]"),
    "objects": (lambda x: x.astype(object), r"object\[1, 3, 8, 12\]"),
    "text": (lambda x: x.astype("U4"), r"<U4\[1, 3, 8, 12\]"),
    "big-endian": (lambda x: x.astype(">f4"), r">f4\[1, 3, 8, 12\]"),
    "rank three": (lambda x: x[0], r"float32\[3, 8, 12\]"),
    "rank five": (lambda x: x[None], r"float32\[1, 1, 3, 8, 12\]"),
    "a scalar": (lambda x: x[0, 0, 0, 0], r"float32\[\]"),
    "channels last": (lambda x: x.transpose(0, 2, 3, 1), r"float32\[1, 8, 12, 3\]"),
    "another size": (lambda x: x[..., 1:], r"float32\[1, 3, 8, 11\]"),
    "two rows": (lambda x: np.repeat(x, 2, 0), r"float32\[2, 3, 8, 12\]"),
    "no rows": (lambda x: x[:0], r"float32\[0, 3, 8, 12\]"),
    "no columns": (lambda x: x[..., :0], r"float32\[1, 3, 8, 0\]"),
}


def unaligned(x: np.ndarray) -> np.ndarray:
    odd = np.empty(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    odd[:] = x
    return odd


ACCEPTED_LAYOUTS = {
    "every second column": lambda x: np.repeat(x, 2, 3)[..., ::2],
    "turned": lambda x: np.ascontiguousarray(x.transpose(0, 3, 2, 1)).transpose(0, 3, 2, 1),
    "backwards": lambda x: np.ascontiguousarray(x[:, :, ::-1, ::-1])[:, :, ::-1, ::-1],
    "columns first": np.asfortranarray,
    "one plane for all channels": lambda x: np.broadcast_to(x[:, :1], x.shape),
    "read-only": read_only,
    "not aligned": unaligned,
}


@pytest.fixture(scope="module", params=BACKENDS)
def one_segment_chain(request, tmp_path_factory) -> Iterator[Chain]:
    """A chain of one segment."""
    folder = tmp_path_factory.mktemp("one_segment") / request.param
    step = converted_conv("only", "x", "y", folder, request.param)
    with Chain([step], (spec("x"),), (spec("y"),)) as chain:
        yield chain


@pytest.mark.parametrize("odd", REFUSED_TENSORS)
def test_another_dtype_rank_or_layout_is_refused_by_the_tensors_name(one_segment_chain, odd):
    make, got = REFUSED_TENSORS[odd]
    expected = as_bytes(one_segment_chain(noise(0)))
    message = rf"^input 'x': expected float32\[1, 3, 8, 12\], got {got}$"
    with pytest.raises(TensorError, match=message):
        one_segment_chain({"x": make(noise(0)["x"])})
    assert as_bytes(one_segment_chain(noise(0))) == expected


@pytest.mark.parametrize("odd", ACCEPTED_LAYOUTS)
def test_an_array_that_lies_oddly_in_memory_is_as_its_plain_copy_and_stays_as_it_is(
    one_segment_chain, odd
):
    array = ACCEPTED_LAYOUTS[odd](noise(0)["x"])
    plain = np.array(array, order="C")
    assert as_bytes(one_segment_chain({"x": array})) == as_bytes(one_segment_chain({"x": plain}))
    assert array.tobytes() == plain.tobytes()


def test_a_chain_changes_none_of_its_inputs(multi_step_chain):
    chain, _ = multi_step_chain
    inputs = noise(0)
    chain(inputs)
    assert as_bytes(inputs) == as_bytes(noise(0))


PICTURES = {
    "every second pixel": SCENE[::2, ::2],
    "upside down": SCENE[::-1],
    "turned": SCENE.transpose(1, 0, 2),
    "blue first": SCENE[:, :, ::-1],
    "a part of it": SCENE[13:200, 7:101],
    "read-only": read_only(SCENE),
    "one pixel": SCENE[:1, :1],
    "one row": SCENE[:1],
    "one column": SCENE[:, :1],
    "very wide": np.tile(SCENE[:2], (1, 40, 1)),
    "very tall": np.tile(SCENE[:, :2], (40, 1, 1)),
    "grey": SCENE[:, :, 1],
    "grey with an axis": SCENE[:, :, 1:2],
    "with transparency": np.dstack((SCENE, SCENE[:, :, 0])),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_an_array_of_any_size_and_layout_is_a_picture_and_stays_as_it_is(digits_pipeline, kind):
    picture = PICTURES[kind]
    plain = np.array(picture, order="C")
    detections = digits_pipeline(picture)
    assert is_finite(detections) and as_bytes(detections) == as_bytes(digits_pipeline(plain))
    assert picture.tobytes() == plain.tobytes()


def test_grey_is_as_its_repetition(digits_pipeline):
    grey = SCENE[:, :, 1]
    expected = as_bytes(digits_pipeline(np.dstack((grey, grey, grey))))
    assert (
        as_bytes(digits_pipeline(grey)) == as_bytes(digits_pipeline(grey[:, :, None])) == expected
    )


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (SCENE.astype(np.float32), r"float32\[480, 640, 3\]"),
        (SCENE.astype(np.int8), r"int8\[480, 640, 3\]"),
        (SCENE.astype(np.uint16), r"uint16\[480, 640, 3\]"),
        (SCENE > 99, r"bool\[480, 640, 3\]"),
        (SCENE.astype(object), r"object\[480, 640, 3\]"),
        (SCENE.transpose(2, 0, 1), r"uint8\[3, 480, 640\]"),
        (SCENE[None], r"uint8\[1, 480, 640, 3\]"),
        (SCENE[0, :, 0], r"uint8\[640\]"),
        (np.array(7, np.uint8), r"uint8\[\]"),
        (SCENE[:, :, :2], r"uint8\[480, 640, 2\]"),
        (SCENE[:, :0], r"uint8\[480, 0, 3\]"),
    ],
)
def test_another_array_is_refused_and_the_pipeline_stays_usable(digits_pipeline, array, got):
    expected = as_bytes(digits_pipeline(SCENE))
    with pytest.raises(
        ImageError, match=rf"^picture array: expected uint8 of shape .*, got {got}$"
    ):
        digits_pipeline(array)
    assert as_bytes(digits_pipeline(SCENE)) == expected


def truncated_picture() -> Image.Image:
    """A picture of Pillow's whose pixels are not read yet, and not all there."""
    return Image.open(BytesIO(SCENES[0].read_bytes()[:4000]))


def closed_picture() -> Image.Image:
    image = Image.new("RGB", (4, 4))
    image.close()
    return image


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (truncated_picture, "cannot be decoded: image file is truncated"),
        (closed_picture, "cannot be decoded: ValueError"),
        (lambda: Image.new("RGB", (0, 5)), "picture: expected pixels, got 0 x 5"),
        (lambda: "a" * 5000, "a text of 5,000 characters that names none"),
    ],
)
def test_what_pillow_cannot_decode_is_one_error_also_where_it_comes_from_pillow(make, message):
    with pytest.raises(ImageError, match=message):
        load_image(make())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("error")
def test_a_float_that_is_not_finite_is_a_black_pixel_and_changes_no_other(value):
    floats = np.full((2, 3), 200, np.float32)
    floats[1, 2] = value
    loaded = load_image(Image.fromarray(floats))[:, :, 0]
    assert loaded.tolist() == [[200, 200, 200], [200, 200, 0]]
