"""A manifest is read as if a stranger had written it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backends.contract import Dynamic, TensorSpec
from deploy.runtime import Pipeline
from deploy.runtime.bundle.manifest import (
    MANIFEST,
    MOST_BYTES,
    BundleError,
    PostStep,
    read_manifest,
)
from deploy.runtime.bundle.sample import read_sample
from deploy.runtime.vision.pre import Pre
from tests.conftest import spec, step

FILE = {"sha256": "0" * 64, "size": 1, "kind": "engine"}
PRE = Pre("x", 2, 4, (0, 0, 0), (1, 1, 1))
PICTURE = TensorSpec("x", "float32", (1, 3, 2, 4))


def test_a_manifest_survives_writing_and_reading(make_bundle):
    manifest = read_manifest(make_bundle(pre=PRE, inputs=(PICTURE,), classes=("a",)))
    assert manifest.pre == PRE
    assert manifest.classes == ("a",)
    assert manifest.files["one/factor.txt"].kind == "engine"


@pytest.mark.parametrize(
    "name",
    [
        "../x", "/x", "a/../../x", "", ".", "a//b", "./a", "a/", "C:/x", "a\\b", "a\nb", "a\0b",
        "con|x", "x" * 300, MANIFEST, "manifest.sig",
    ],
)  # fmt: skip
def test_no_file_lies_outside_the_bundle_or_has_a_name_that_some_system_lacks(make_bundle, name):
    bundle = changed(make_bundle(), lambda data: data["files"].update({name: FILE}))
    with pytest.raises(BundleError, match=r"manifest\.json: files: expected files inside the bu"):
        Pipeline.open(bundle)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"sha256": "0" * 63}, "expected a SHA-256 of 64 hexadecimal digits"),
        ({"size": -1}, "and a size from 0 up, got .*, -1"),
        ({"size": True}, "size: expected int, got True"),
        ({"kind": "code"}, "kind: expected 'engine' or 'source' or 'sample' or 'picture'"),
        ({"kind": "sample"}, r"files\.one/factor\.txt\.kind: expected engine, got sample"),
    ],
)
def test_every_file_has_a_hash_a_size_and_the_kind_that_it_is_used_as(make_bundle, entry, message):
    bundle = make_bundle()
    change = lambda data: data["files"]["one/factor.txt"].update(entry)  # noqa: E731
    with pytest.raises(BundleError, match=message):
        Pipeline.open(changed(bundle, change))


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "x" * 101, "a b"])
def test_a_steps_name_is_fit_for_a_folder(make_bundle, name):
    with pytest.raises(BundleError, match="name of a step: expected letters, digits"):
        Pipeline.open(make_bundle([(replace(step("one", "x", "y"), name=name), 1.0)]))


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (TensorSpec("x", "object", (1, 2)), "expected a dtype of NumPy .*, got 'object'"),
        (TensorSpec("x", "float32", (-1, 2)), "expected a possible shape"),
        (TensorSpec("x", "float32", (1,) * 33), "expected a possible shape"),
        (TensorSpec("x", "float32", (1 << 20, 1 << 20)), "expected at most 2,147,483,648 elements"),
        (TensorSpec("x", "float32", (Dynamic("n", 1, 9, 4), 2)), "expected a possible shape"),
        (TensorSpec("x", "float32", (Dynamic("n", 2, 4, 9, 2), 2)), "expected a possible shape"),
        (TensorSpec("x", "float32", (Dynamic("n", 0, 0, 0, 0),)), "multiple: expected int from 1"),
        (TensorSpec("", "float32", (1, 2)), r"name: expected a string of length 1 to 1,000, got"),
    ],
)
def test_a_tensor_is_one_that_can_be(make_bundle, tensor, message):
    with pytest.raises(BundleError, match=message):
        Pipeline.open(make_bundle(inputs=(tensor,)))


def test_a_tensor_is_there_once(make_bundle):
    with pytest.raises(BundleError, match="inputs: 'x' is there twice"):
        Pipeline.open(make_bundle(inputs=(spec("x"), spec("x"))))


@pytest.mark.parametrize(
    ("pre", "message"),
    [
        (replace(PRE, input="q"), "pre.input: expected the one input of the chain"),
        (replace(PRE, height=1 << 40), "pre: expected the size of float32"),
        (replace(PRE, std=(1, 0, 1)), "expected a size in pixels, and std other than 0"),
        (replace(PRE, pad=float("nan")), "expected a size in pixels, and std other than 0"),
    ],
)
def test_preprocessing_fits_the_input(make_bundle, pre, message):
    with pytest.raises(BundleError, match=message):
        Pipeline.open(make_bundle(pre=pre, inputs=(PICTURE,)))


BYTES = TensorSpec("x", "uint8", (1, 2, 4, 3))
PIXELS = replace(PRE, layout="nhwc")
SIZES = TensorSpec("sizes", "int64", (2, 2))
BESIDE = replace(PRE, values={"sizes": ("width", "height")})


@pytest.mark.parametrize(
    ("pre", "inputs", "message"),
    [
        (replace(PRE, order="grey"), (PICTURE,), "pre.mean: expected 1 number for grey, got 3"),
        (replace(PRE, pad=(1.0, 2.0)), (PICTURE,), "pre.pad: expected 3 numbers for rgb, got 2"),
        (replace(PRE, resize="zoom"), (PICTURE,), "pre.resize: expected 'letterbox' or"),
        (replace(PRE, multiple=-1), (PICTURE,), "pre.multiple: expected int from 0 to 4,096"),
        (replace(PRE, cover=(1 << 40, 1)), (PICTURE,), r"pre.cover\[0\]: expected int from 1"),
        (replace(PRE, mean=(0.0,) * 9), (PICTURE,), "pre.mean: .*of length 1 to 3"),
        (replace(PIXELS, std=(2.0,) * 3), (BYTES,), "pre.std: expected mean 0 and std 1 for"),
        (replace(PIXELS, pad=-1.0), (BYTES,), "pre.pad: expected a pixel from 0 to 255"),
        (PRE, (BYTES,), r"pre: expected the size of uint8\[1, 2, 4, 3\], got 2 x 4"),
        (replace(PRE, multiple=2), (replace(PICTURE, shape=(1, 3)),), "pre: expected the size of"),
        (BESIDE, (PICTURE,), "pre.input: expected the one input of the chain but those of values"),
        (PRE, (PICTURE, SIZES), "pre.input: expected the one input of the chain, got 'x'"),
        (BESIDE, (PICTURE, SIZES), r"pre.values.sizes: expected as many values as int64\[2, 2\]"),
        (
            replace(PRE, values={"sizes": ("area", 1)}),
            (PICTURE, SIZES),
            r"pre.values.sizes\[0\]: expected 'height' or .*got 'area'",
        ),
        (
            replace(PRE, values={"sizes": (1e30, 1)}),
            (PICTURE, SIZES),
            r"pre.values.sizes\[0\]: expected",
        ),
        (
            replace(PRE, values={"x": (1, 1)}),
            (PICTURE,),
            r"pre.values.x: expected as many values as float32\[1, 3, 2, 4\]",
        ),
        (
            BESIDE,
            (PICTURE, replace(SIZES, dtype="bool", shape=(1, 2))),
            "pre.values.sizes: expected an input of float16",
        ),
        (
            BESIDE,
            (PICTURE, replace(SIZES, shape=(1, Dynamic("n", 1, 2, 2)))),
            "pre.values.sizes: expected as many values",
        ),
    ],
)
def test_every_parameter_of_preprocessing_is_bounded(make_bundle, pre, inputs, message):
    with pytest.raises(BundleError, match=message):
        Pipeline.open(make_bundle(pre=pre, inputs=inputs))


@pytest.mark.parametrize(
    ("pre", "inputs"),
    [
        (PIXELS, (BYTES,)),
        (BESIDE, (PICTURE, replace(SIZES, shape=(1, 2)))),
        (BESIDE, (replace(PICTURE, shape=(2, 3, 2, 4)), replace(SIZES, shape=(2,)))),
        (replace(PRE, resize="crop", cover=(3, 5), pad=(1.0, 2.0, 3.0)), (PICTURE,)),
    ],
)
def test_preprocessing_survives_writing_and_reading(make_bundle, pre, inputs):
    assert read_manifest(make_bundle(pre=pre, inputs=inputs)).pre == pre


def test_a_bundle_of_before_has_the_preprocessing_that_there_was(make_bundle):
    bundle = make_bundle(pre=PRE, inputs=(PICTURE,))
    manifest = json.loads((bundle / MANIFEST).read_text())
    old = ("input", "height", "width", "mean", "std", "order", "pad")
    manifest["pre"] = {key: manifest["pre"][key] for key in old}
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    assert read_manifest(bundle).pre == PRE


def test_a_host_step_takes_what_the_chain_gives(make_bundle):
    with pytest.raises(BundleError, match=r"post\.inputs: expected one of y, got 'z'"):
        Pipeline.open(make_bundle(post=PostStep("yolov3.maps", ("z",), {})))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"format": 2, "format": 2}', "is not JSON: key 'format' is there twice"),
        (b"[" * 100_000, "is not JSON: maximum recursion depth"),
        (b'{"format": ' + b"1" * 5000 + b"}", "is not JSON: Exceeds the limit"),
        (b" " * (MOST_BYTES + 1), "expected at most 16,777,216 bytes, got more"),
        (b"[]", "has no format number"),
    ],
)
def test_json_that_is_meant_to_do_harm_is_refused(tmp_path, text, message):
    (tmp_path / MANIFEST).write_bytes(text)
    with pytest.raises(BundleError, match=message):
        read_manifest(tmp_path)


def link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to(path.with_name("real"))


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("put", "got"), [(link, "a symbolic link"), (fifo, "a FIFO"), (folder, "a folder")]
)
@pytest.mark.parametrize("name", [MANIFEST, "one/factor.txt"])
def test_what_is_no_regular_file_is_not_opened(make_bundle, name, put, got):
    bundle = make_bundle()
    put(bundle / name)
    with pytest.raises(BundleError, match=rf"{Path(name).name}' ?is {got}|json is {got}"):
        Pipeline.open(bundle)


def test_no_folder_inside_the_bundle_is_a_link(make_bundle, tmp_path):
    bundle = make_bundle()
    (bundle / "one").rename(tmp_path / "elsewhere")
    (bundle / "one").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match=r"'one/factor\.txt' is not in a folder of its own"):
        Pipeline.open(bundle)


def changed(bundle: Path, change) -> Path:
    data = json.loads((bundle / MANIFEST).read_text())
    change(data)
    (bundle / MANIFEST).write_text(json.dumps(data))
    return bundle


def test_a_sample_that_claims_more_than_it_holds_is_refused(make_bundle):
    bundle = make_bundle()
    path = bundle / "sample" / "tensors.npz"
    header = np.lib.format.header_data_from_array_1_0(np.zeros(1, np.float32))
    header["shape"] = (1 << 40,)
    import zipfile

    with zipfile.ZipFile(path, "w") as archive, archive.open("input/x.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, header)
    entry = {"size": path.stat().st_size, "sha256": sha256(path)}
    changed(bundle, lambda data: data["files"]["sample/tensors.npz"].update(entry))
    with pytest.raises(BundleError, match=r"sample/tensors\.npz.* does not hold what it says"):
        read_sample(bundle, read_manifest(bundle))


def sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()
