"""What a user passes in is in no error: not of a wrong type, not damaged, not of another format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backends.contract import DeployError
from backends.convert_cli import main as convert
from deploy.runtime import Pipeline
from deploy.runtime.accuracy.coco import Dataset
from deploy.runtime.bundle.signing import private_key, read_signed
from deploy.runtime.vision.image import load_image
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
    """The text of the one error that a call raises."""
    with pytest.raises((DeployError, SystemExit)) as raised:
        call()
    return str(raised.value)


SECRET_ARRAY = np.frombuffer(DATA, np.uint8)
PICTURES: dict[str, object] = {
    "bytes": DATA,
    "a byte array": bytearray(DATA),
    "a list": [SECRET],
    "a text as long as a picture": SECRET * 1000,
    "a mapping": {SECRET: SECRET},
    "a vector": SECRET_ARRAY,
    "an array of texts": np.array([[SECRET]]),
    "an array of objects": np.array([[SECRET]], object),
    "floats": np.full((2, 2, 3), 0.271828),
    "a picture without pixels": Image.new("RGB", (0, 1)),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_of_another_type_is_not_in_the_error(detector_bundle, kind):
    with Pipeline.open(detector_bundle, trusted=True) as pipeline:
        for call in (pipeline, pipeline.prepare, lambda picture: list(pipeline.stream([picture]))):
            text = texts(lambda call=call: call(PICTURES[kind]))
            assert SECRET not in text
            assert "0.27" not in text
            assert len(text) < 300


TENSORS: dict[str, object] = {
    "a text": {"image": SECRET},
    "bytes": {"image": DATA},
    "a list": {"image": [SECRET]},
    "an array of texts": {"image": np.array([SECRET])},
    "another shape": {"image": np.full((2, 2), 0.271828, np.float32)},
    "no mapping": SECRET,
    "no mapping of one": [SECRET],
    "none": None,
    "one more": {"image": SECRET, "x": SECRET},
}


@pytest.mark.parametrize("kind", TENSORS)
def test_a_tensor_is_not_in_the_error(detector_bundle, kind):
    with Pipeline.open(detector_bundle, trusted=True) as pipeline:
        text = texts(lambda: pipeline.chain(TENSORS[kind]))
    assert SECRET not in text
    assert "0.27" not in text


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
    assert SECRET not in texts(lambda: Dataset(tmp_path / "data.json"))


@pytest.mark.parametrize("data", [DATA, b"\x93NUMPY\x01\0\x0c\0" + DATA + b"     \n", b"PK" + DATA])
def test_a_sample_for_a_converter_is_not_quoted(data, tmp_path):
    segment = graphs.conv(tmp_path / "net.onnx")
    (tmp_path / "sample.npz").write_bytes(data)
    words = [str(segment.onnx), str(tmp_path / "out"), "--sample", str(tmp_path / "sample.npz")]
    assert SECRET not in texts(lambda: convert("onnxruntime", words))
