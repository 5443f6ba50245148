"""What is put on a device is listed by hash; the pictures of a data set wherever they are."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace

import pytest

from deploy.devices.errors import DeviceError
from deploy.devices.hashes import hash_files
from deploy.devices.trees import bundle_tree, code_tree, data_tree
from deploy.runtime.bundle.manifest import DeviceEntry, read_manifest, write_manifest


def coco(path, *names):
    path.write_text(json.dumps({"images": [{"file_name": name} for name in names]}))
    return path


def test_the_pictures_of_a_coco_file_keep_their_places(tmp_path):
    (tmp_path / "pictures" / "a").mkdir(parents=True)
    (tmp_path / "labels").mkdir()
    for name in ("1.png", "a/2.png", "unlisted.png"):
        (tmp_path / "pictures" / name).write_bytes(name.encode())
    listed = coco(tmp_path / "labels" / "x.json", "../pictures/1.png", "../pictures/a/2.png")
    tree, place = data_tree(listed)
    assert place == "labels/x.json"
    assert {*tree.files} == {"labels/x.json", "pictures/1.png", "pictures/a/2.png"}


def test_a_coco_file_beside_its_pictures(tmp_path):
    (tmp_path / "1.png").write_bytes(b"1")
    tree, place = data_tree(coco(tmp_path / "x.json", "1.png"))
    assert (place, {*tree.files}) == ("x.json", {"x.json", "1.png"})


@pytest.mark.parametrize(
    "text", ["no json", "[]", '{"images": [{"file_name": "absent.png"}]}', "{}"]
)
def test_a_data_set_that_cannot_be_read_is_refused_without_its_content(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    expected = "data set '.*x.json' cannot be sent: expected a folder, or a COCO file whose pict"
    with pytest.raises(DeviceError, match=expected) as raised:
        data_tree(tmp_path / "x.json")
    assert "absent" not in str(raised.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DeviceError, match=r"data set '.*nowhere' cannot be sent"):
        data_tree(tmp_path / "nowhere")


def test_a_file_that_changes_is_hashed_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "file"
    file.write_bytes(b"one")
    before = hash_files({"x": file})
    assert hash_files({"x": file}) == before
    assert not (tmp_path / "cache").exists()  # it could be written again at the same time
    time_ns = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: time_ns() + 10**10)
    assert hash_files({"x": file}) == before
    state = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert hash_files({"x": file})["x"].sha256 != before["x"].sha256
    (tmp_path / "cache" / "backend-chain" / "hashes.json").write_text("broken")
    assert hash_files({"x": file})["x"].size == 3


def test_what_devices_have_measured_does_not_make_another_bundle(make_bundle, tmp_path):
    bundle = make_bundle()
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    before = bundle_tree(bundle, tmp_path / "before")
    entry = DeviceEntry("pi", "2026-11-30T00:00:00+00:00", "aarch64", "", {}, "passed")
    write_manifest(bundle, replace(read_manifest(bundle), devices=(entry,)))
    assert bundle_tree(bundle, tmp_path / "after").digest == before.digest


def test_a_package_is_sent_without_what_is_no_code(tmp_path, monkeypatch):
    (tmp_path / "own_package" / "inner").mkdir(parents=True)
    for name in ("__init__.py", "inner/__init__.py", "inner/step.py", "weights.bin"):
        (tmp_path / "own_package" / name).write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    tree = code_tree("an.id=own_package.inner.step:decode")
    assert tree is not None
    assert {*tree.files} == {
        "own_package/__init__.py",
        "own_package/inner/__init__.py",
        "own_package/inner/step.py",
    }
