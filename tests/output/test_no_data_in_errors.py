"""What a user passes in is in no error: not of a wrong type, not damaged, not of another format."""

from __future__ import annotations

import io
import json
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from backends.contract import DeployError
from backends.convert_cli import main as convert
from deploy.runtime import Pipeline
from deploy.runtime.accuracy.coco import CocoDataset
from deploy.runtime.bundle.signing import private_key, read_signed
from deploy.runtime.vision.image import decode, load_image
from tests.fuzzing import seed_bundles
from tests.helpers import graphs

SECRET = "hunter2"
DATA = SECRET.encode()


@pytest.fixture(scope="module")
def detector_bundle(tmp_path_factory) -> Path:
    bundle = tmp_path_factory.mktemp("data") / "bundle"
    seed_bundles.detector(bundle)
    return bundle


def texts(call: Callable[[], object]) -> str:
    """All that is printed of the one error that a call raises, and of the errors behind it."""
    with pytest.raises((DeployError, SystemExit)) as raised:
        call()
    error: traceback.TracebackException | None
    error, shown = traceback.TracebackException.from_exception(raised.value), []
    while error is not None:
        shown += error.format_exception_only()
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "".join(shown)


def with_info(**info: object) -> Image.Image:
    picture = Image.new("P", (2, 2))
    picture.info |= info
    return picture


def closed_file() -> io.BytesIO:
    file = io.BytesIO(DATA)
    file.close()
    return file


def file_that_reads(read: Callable[[int], object]) -> SimpleNamespace:
    return SimpleNamespace(read=read)


async def read_later(size: int) -> bytes:
    return DATA


def fail(size: int) -> bytes:
    raise ValueError(SECRET)


SECRET_ARRAY = np.frombuffer(DATA, np.uint8)
PICTURES: dict[str, Callable[[], object]] = {
    "bytes": lambda: DATA,
    "the bytes of a large file": lambda: DATA * 20_000,
    "a byte array": lambda: bytearray(DATA),
    "memory": lambda: memoryview(DATA),
    "memory with gaps": lambda: memoryview(DATA * 2)[::2],
    "a file": lambda: io.BytesIO(DATA),
    "a file for text": lambda: io.StringIO(SECRET),
    "an empty file for text": io.StringIO,
    "a file to be awaited": lambda: file_that_reads(read_later),
    "a file that gives a mapping": lambda: file_that_reads(lambda size: {SECRET: 1}),
    "a file that gives nothing yet": lambda: file_that_reads(lambda size: None),
    "a file that fails": lambda: file_that_reads(fail),
    "a file that was closed": closed_file,
    "a text": lambda: f"It says: {SECRET}",
    "JSON": lambda: json.dumps({"image": SECRET}),
    "a URL": lambda: f"https://user:{SECRET}@host/a.png",
    "a URL that is data": lambda: f"data:image/png;base64,{SECRET}",
    "a text as long as a picture": lambda: SECRET * 15_000,
    "a long text with an end like a file's": lambda: f"{SECRET * 15_000}.png",
    "a text with a zero": lambda: f"{SECRET}\0.png",
    "a list": lambda: [SECRET],
    "a mapping": lambda: {SECRET: SECRET},
    "a mapping with other keys": lambda: {(SECRET, 1): DATA, 3: SECRET, None: 1},
    "a vector": lambda: SECRET_ARRAY,
    "an array of texts": lambda: np.array([[SECRET]]),
    "an array of objects": lambda: np.array([[SECRET]], object),
    "an array with fields": lambda: np.zeros((2, 2), [(SECRET, np.uint8)]),
    "floats": lambda: np.full((2, 2, 3), 0.271828),
    "none": lambda: None,
    "a picture without pixels": lambda: Image.new("RGB", (0, 1)),
    "a picture with Exif that is none": lambda: with_info(exif=DATA),
    "a picture with Exif of a wrong head": lambda: with_info(exif=b"Exif\0\0" + DATA),
    "a picture with a transparency that is none": lambda: with_info(transparency=SECRET),
}
ENTRIES: dict[str, Callable[[Pipeline, object], object]] = {
    "a call": lambda pipeline, picture: pipeline(picture),
    "prepare": lambda pipeline, picture: pipeline.prepare(picture),
    "timed": lambda pipeline, picture: pipeline.timed(picture, {}),
    "stream of a list": lambda pipeline, picture: list(pipeline.stream([picture])),
    "stream in batches": lambda pipeline, picture: list(pipeline.stream([picture], batch="auto")),
    "stream": lambda pipeline, picture: list(pipeline.stream(picture)),
    "decode": lambda pipeline, picture: decode(picture),
    "load_image": lambda pipeline, picture: load_image(picture),
    "chain": lambda pipeline, picture: pipeline.chain(picture),
    "chain of a mapping": lambda pipeline, picture: pipeline.chain({"image": picture}),
    "a call of a mapping": lambda pipeline, picture: pipeline({"image": picture}),
    "a call with one more": lambda pipeline, picture: pipeline({"image": picture, SECRET: 1}),
    "chain.timed": lambda pipeline, picture: pipeline.chain.timed({"image": picture}, {}),
    "open_stream": lambda pipeline, picture: pipeline.open_stream()(picture),
    "open_stream of a mapping": lambda pipeline, picture: pipeline.open_stream()({"x": picture}),
}


@pytest.fixture(scope="module", params=["never", "always"])
def detector_pipeline(detector_bundle, request):
    """The pipeline in this process, and in one of its own."""
    with Pipeline.open(detector_bundle, trusted=True, isolate=request.param) as pipeline:
        yield pipeline


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, on Exif
@pytest.mark.parametrize("kind", PICTURES)
def test_what_is_passed_in_is_not_in_the_error(detector_pipeline, kind):
    for entry, call in ENTRIES.items():
        shown = texts(lambda call=call: call(detector_pipeline, PICTURES[kind]()))
        assert SECRET not in shown, entry
        assert "0.27" not in shown, entry
        assert len(shown) < 1000, entry


BATCHES = {"a text": SECRET, "bytes": DATA, "a list": [SECRET], "none": None, "a float": 0.271828}


@pytest.mark.parametrize("name", ["batch", "depth"])
@pytest.mark.parametrize("kind", BATCHES)
def test_a_batch_or_depth_that_is_no_number_is_not_in_the_error(detector_pipeline, name, kind):
    if (name, kind) == ("depth", "none"):
        return  # the default
    shown = texts(lambda: list(detector_pipeline.stream([], **{name: BATCHES[kind]})))
    assert shown.startswith(f"backends.contract.DeployError: {name}: expected ")
    assert SECRET not in shown and "0.27" not in shown


HEADERS = {
    "BMP": b"BM", "GIF": b"GIF89a", "JPEG": b"\xff\xd8\xff\xe0\0\x10", "PNG": b"\x89PNG\r\n\x1a\n",
    "P6": b"P6 ", "P5": b"P5\n", "PPM of text": b"P3 2 2 255 ", "PFM": b"Pf ", "TIFF": b"II*\0",
    "WebP": b"RIFF\x10\0\0\0WEBPVP8 ", "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("times", [1, 3, 100])
def test_a_file_that_only_begins_like_a_picture_is_not_quoted(kind, times, tmp_path):
    (tmp_path / "p").write_bytes(HEADERS[kind] + b" ".join([DATA] * times))
    assert SECRET not in texts(lambda: load_image(tmp_path / "p"))


KEYS = {
    "a text": DATA,
    "two words": DATA + b" " + DATA,
    "an unknown key of SSH": b"ssh-" + DATA + b" AAAA comment",
    "PEM": b"-----BEGIN PRIVATE KEY-----\n" + DATA + b"\n-----END PRIVATE KEY-----\n",
    "another PEM": b"-----BEGIN " + DATA + b"-----\nAAAA\n-----END " + DATA + b"-----\n",
    "OpenSSH": b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + DATA + b"\n",
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_is_not_quoted(kind, make_bundle, tmp_path, monkeypatch):
    pytest.importorskip("cryptography")
    monkeypatch.setenv("DEPLOY_KEY_PASSPHRASE", f"{SECRET}-passphrase")
    (tmp_path / "key").write_bytes(KEYS[kind])
    bundle = make_bundle()
    for call in (private_key, lambda key: read_signed(bundle, key)):
        text = texts(lambda call=call: call(tmp_path / "key"))
        assert SECRET not in text
        assert "is no readable" in text


DATA_SETS = {
    "no JSON": SECRET,
    "JSON that breaks off": f'{{"images": ["{SECRET}',
    "a list": json.dumps([SECRET]),
    "other keys": json.dumps({SECRET: SECRET}),
    "other values": json.dumps({"images": SECRET, "annotations": SECRET, "categories": SECRET}),
    "texts for boxes": json.dumps(
        {
            "images": [{"id": 1, "file_name": SECRET}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [SECRET] * 4}],
            "categories": [{"id": 1}],
        }
    ),
}


@pytest.mark.parametrize("kind", DATA_SETS)
def test_a_data_set_is_not_quoted(kind, tmp_path):
    pytest.importorskip("pycocotools")
    (tmp_path / "data.json").write_text(DATA_SETS[kind])
    assert SECRET not in texts(lambda: CocoDataset(tmp_path / "data.json"))


@pytest.mark.parametrize("data", [DATA, b"\x93NUMPY\x01\0\x0c\0" + DATA + b"     \n", b"PK" + DATA])
def test_a_sample_for_a_converter_is_not_quoted(data, tmp_path):
    segment = graphs.conv(tmp_path / "net.onnx")
    (tmp_path / "sample.npz").write_bytes(data)
    words = [str(segment.onnx), str(tmp_path / "out"), "--sample", str(tmp_path / "sample.npz")]
    assert SECRET not in texts(lambda: convert("onnxruntime", words))
