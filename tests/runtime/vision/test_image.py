"""Pictures of every kind become tensors, and boxes find their way back."""

from __future__ import annotations

import io
import tempfile

import numpy as np
import pytest
from PIL import Image

from deploy.runtime.vision import image
from deploy.runtime.vision.image import ImageError, Pre, decode, load_image
from deploy.runtime.vision.preprocess import Preprocessor
from deploy.runtime.vision.resizing import enlarged, planes_of

PRE = Pre("image", 32, 64, (0, 0, 0), (255, 255, 255))


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_picture_of_the_right_size_is_only_normalised():
    image = picture(32, 64)
    tensor, _ = Preprocessor(PRE)(image)
    np.testing.assert_allclose(tensor[0], image.transpose(2, 0, 1) / 255, atol=1e-6)


def test_mean_std_and_order_are_those_of_the_tensors_channels():
    pre = Pre("image", 32, 64, (10, 20, 30), (1, 2, 4), order="bgr")
    image = picture(32, 64)
    tensor, _ = Preprocessor(pre)(image)
    wanted = (image[:, :, ::-1] - np.array([10.0, 20, 30])) / [1, 2, 4]
    np.testing.assert_allclose(tensor[0].transpose(1, 2, 0), wanted, atol=1e-4)


def test_a_tall_picture_lies_at_the_left_and_padding_fills_the_rest():
    tensor, placement = Preprocessor(Pre("image", 32, 64, (0, 0, 0), (255,) * 3, pad=0.5))(
        picture(64, 32)
    )
    assert tensor.shape == (1, 3, 32, 64)
    assert (placement.scale_x, placement.scale_y) == (0.5, 0.5)
    assert (tensor[:, :, :, 16:] == 0.5).all()


@pytest.mark.parametrize("seed", range(40))
def test_boxes_find_their_way_back(seed):
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 2000, 2))
    _, placement = Preprocessor(PRE)(np.zeros((height, width, 3), np.uint8))
    boxes = rng.uniform(0, 1, (5, 4)) * [width, height, width, height]
    scale = [placement.scale_x, placement.scale_y] * 2
    np.testing.assert_allclose(placement.boxes_back(boxes * scale), boxes, rtol=1e-5)


def test_a_mark_in_the_picture_is_found_where_its_box_says():
    image = np.zeros((100, 300, 3), np.uint8)
    image[40:60, 210:240] = 255
    tensor, placement = Preprocessor(PRE)(image)
    rows, columns = np.nonzero(tensor[0, 0] > 0.5)
    box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], float)
    np.testing.assert_allclose(placement.boxes_back(box), [[210, 40, 240, 60]], atol=4)


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (3, 20_000)])
def test_extreme_sizes_work(size):
    tensor, placement = Preprocessor(PRE)(picture(*size))
    assert tensor.shape == (1, 3, 32, 64)
    assert np.isfinite(tensor).all()
    assert placement.scale_x > 0 and placement.scale_y > 0


def saved(tmp_path, image: Image.Image, name: str = "a.png", **options) -> np.ndarray:
    image.save(tmp_path / name, **options)
    return load_image(tmp_path / name)


def test_grey_is_repeated(tmp_path):
    grey = picture(4, 5)[:, :, 0]
    loaded = saved(tmp_path, Image.fromarray(grey))
    np.testing.assert_array_equal(loaded, np.repeat(grey[:, :, None], 3, axis=2))


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    values = np.array([[0, 257 * 100, 65535]], np.uint16)
    loaded = saved(tmp_path, Image.fromarray(values))
    assert loaded[0, :, 0].tolist() == [0, 100, 255]


def test_transparency_is_laid_over_white(tmp_path):
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8)
    loaded = saved(tmp_path, Image.fromarray(rgba, "RGBA"))
    assert loaded.tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_a_palette_is_resolved(tmp_path):
    image = Image.fromarray(picture(4, 4)).quantize(4)
    np.testing.assert_array_equal(saved(tmp_path, image), np.array(image.convert("RGB")))


def test_the_cameras_orientation_is_applied(tmp_path):
    image = Image.fromarray(picture(4, 6))
    exif = image.getexif()
    exif[0x0112] = 6
    assert saved(tmp_path, image, "a.jpg", exif=exif).shape == (6, 4, 3)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
def test_arrays_are_pictures_too(shape):
    assert load_image(np.zeros(shape, np.uint8)).shape == (4, 5, 3)


@pytest.mark.parametrize(
    "array", [np.zeros((4, 5)), np.zeros((4, 5, 2), np.uint8), np.zeros((0, 5, 3), np.uint8)]
)
def test_other_arrays_are_not(array):
    with pytest.raises(ImageError, match=r"picture array: expected uint8 of shape .* got"):
        load_image(array)


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(64, 64)).save(buffer, "PNG")
    return buffer.getvalue()


class Trickle(io.RawIOBase):
    """A file such as a socket, which gives less than was wanted."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        part = self._data.read(min(7, len(buffer)))
        buffer[: len(part)] = part
        return len(part)


HELD = {
    "bytes": lambda data, path: data,
    "a byte array": lambda data, path: bytearray(data),
    "memory": lambda data, path: memoryview(data),
    "memory with gaps": lambda data, path: memoryview(np.repeat(bytearray(data), 2))[::2],
    "a file in memory": lambda data, path: io.BytesIO(data),
    "an opened file": lambda data, path: path.open("rb"),
    "an unbuffered file": lambda data, path: path.open("rb", buffering=0),
    "a socket's file": lambda data, path: Trickle(data),
    "a temporary file": lambda data, path: temporary(data),
}


def temporary(data: bytes):
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115 - the test's
    file.write(data)
    file.seek(0)
    return file


@pytest.mark.parametrize("kind", HELD)
def test_a_file_in_memory_or_opened_is_a_picture(kind, tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    held = HELD[kind](png(), tmp_path / "a.png")
    np.testing.assert_array_equal(load_image(held), picture(64, 64))
    if hasattr(held, "close"):
        held.close()


def test_a_file_is_read_from_where_it_is():
    file = io.BytesIO(b"header" + png())
    file.seek(6)
    np.testing.assert_array_equal(load_image(file), picture(64, 64))


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (lambda: b"", "picture of 0 bytes: expected one of BMP, .* got another"),
        (lambda: b"no picture", "picture of 10 bytes: expected one of BMP, .* got another"),
        (lambda: png()[:2000], "picture of 2,000 bytes cannot be decoded: "),
        (lambda: io.StringIO("text"), r"opened file: expected bytes, got str\. Open .* mode 'rb'"),
        (lambda: io.BytesIO(bytes(5000)), "picture of an opened file: expected at most 4,096"),
        (lambda: 7, "picture: expected a path, the bytes of a file, an opened file, .* got int"),
        (lambda: "ftp://a/b.png", r"picture: expected a file, got a URL\. Download it first"),
        (lambda: "some text", "expected the path of a file, got a text of 9 characters that names"),
        (lambda: "none.png", "picture 'none.png': expected a file, got nothing"),
        (lambda: ".", r"picture '\.': .* got a folder\. Pipeline\.stream takes folders"),
    ],
)
def test_what_is_held_and_no_picture_is_refused(held, message, monkeypatch):
    monkeypatch.setattr(image, "_MOST_BYTES", 4096)
    with pytest.raises(ImageError, match=message):
        decode(held())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a picture", "is not a picture: expected one of BMP, GIF, JPEG"),
        (b"", "is not a picture: expected one of BMP, GIF, JPEG"),
        (png()[:2000], "cannot be decoded"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path, content, message):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match=message):
        load_image(tmp_path / "a.png")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(ImageError, match="expected a file, got nothing"):
        load_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="expected a file, got a folder"):
        load_image(tmp_path)


def test_a_file_that_claims_an_absurd_size_is_refused_before_decoding(tmp_path):
    header = png()
    claimed = header[:16] + (60_000).to_bytes(4, "big") * 2 + header[24:]
    (tmp_path / "bomb.png").write_bytes(claimed)
    with pytest.raises(ImageError, match=r"bomb\.png"):
        load_image(tmp_path / "bomb.png")


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (178_956_970, "cannot be decoded: image file is truncated"),  # it was accepted
        (178_956_971, "expected at most 178,956,970 pixels, got more"),
        (200_000_000, "expected at most 178,956,970 pixels, got more"),
    ],
)
@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")
def test_the_largest_picture_is_as_large_as_the_error_says(pixels, message, tmp_path):
    (tmp_path / "large.ppm").write_bytes(b"P5 %d 1 255\n" % pixels)
    with pytest.raises(ImageError, match=message):
        load_image(tmp_path / "large.ppm")


def test_the_limit_holds_where_pillows_own_is_off(monkeypatch, tmp_path):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    (tmp_path / "large.ppm").write_bytes(b"P5 200000 1000 255\n")
    with pytest.raises(ImageError, match="at most 178,956,970 pixels, got 200000 x 1000"):
        load_image(tmp_path / "large.ppm")


@pytest.mark.parametrize("size", [(64, 64), (65, 90), (200, 67), (640, 480)])
def test_opencv_enlarges_as_pillow_does_within_one_of_255(size):
    image = Image.fromarray(picture(60, 61))
    expected = planes_of(image.resize(size, Image.Resampling.BILINEAR))
    for plane, other in zip(enlarged(image, *size), expected, strict=True):
        assert plane.shape == other.shape
        assert abs(plane.astype(int) - other).max() <= 1


@pytest.mark.parametrize("size", [(31, 63), (32, 64), (20, 30), (80, 200)])
def test_a_file_and_its_array_give_the_same_tensor(tmp_path, size):
    Image.fromarray(picture(*size)).save(tmp_path / "a.png")
    pre = Pre("image", 32, 64, (10, 20, 30), (1, 2, 4), order="bgr", pad=3)
    ours, placement = Preprocessor(pre)(decode(tmp_path / "a.png"))
    theirs, same = Preprocessor(pre)(picture(*size))
    np.testing.assert_array_equal(ours, theirs)
    assert placement == same


def test_decoding_what_is_already_an_rgb_array_copies_nothing():
    image = picture(4, 5)
    assert decode(image) is image or np.shares_memory(decode(image), image)
