"""What a device keeps of the trees that were put there."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from deploy.devices.on_device.faults import FaultError
from deploy.devices.on_device.trees import KEPT, Trees


def put(trees, folder, kind, name, **files):
    """Put a tree of files there, by their contents."""
    listed = {}
    for path, text in files.items():
        sha = hashlib.sha256(text.encode()).hexdigest()
        listed[path] = [sha, len(text)]
        (folder / "objects").mkdir(exist_ok=True)
        (folder / "objects" / f"{sha}.part").write_text(text)
    tree = {"kind": kind, "name": name, "digest": json.dumps(listed), "files": listed}
    assert trees.assemble(tree) == {"damaged": []}
    return tree


def test_the_newest_few_trees_stay_and_so_does_the_one_in_use(tmp_path):
    trees = Trees(tmp_path)
    for number in range(KEPT["bundles"] + 4):
        put(trees, tmp_path, "bundles", f"b{number}", manifest=str(number))
        os.utime(tmp_path / "bundles" / f"b{number}.json", (number, number))
    (tmp_path / "bundles" / ".half").mkdir()
    trees.prune(["b0"])
    kept = {path.name for path in (tmp_path / "bundles").iterdir() if path.is_dir()}
    assert kept == {"b0", *(f"b{number}" for number in range(4, KEPT["bundles"] + 4))}


def test_files_of_the_same_content_are_copies(tmp_path):
    trees = Trees(tmp_path)
    put(trees, tmp_path, "data", "set", one="same", two="same")
    one, two = tmp_path / "data" / "set" / "one", tmp_path / "data" / "set" / "two"
    assert (one.read_text(), two.read_text(), one.stat().st_nlink) == ("same", "same", 1)
    assert not list((tmp_path / "objects").iterdir())


def test_what_has_not_changed_is_taken_from_the_tree_before(tmp_path):
    trees = Trees(tmp_path)
    tree = put(trees, tmp_path, "bundles", "b", old="old", gone="gone")
    new = {**tree, "digest": "other", "files": {"old": tree["files"]["old"], "new": ["0" * 64, 9]}}
    assert trees.stale([new]) == {"stale": ["b"]}
    assert trees.missing([new])["missing"] == {"0" * 64: 0}
    assert trees.assemble(new) == {"damaged": ["0" * 64]}


@pytest.mark.parametrize("note", ["", "{", "[]", "{}"])
def test_a_note_that_is_damaged_makes_the_tree_a_new_one(tmp_path, note):
    trees = Trees(tmp_path)
    tree = put(trees, tmp_path, "bundles", "b", one="1")
    (tmp_path / "bundles" / "b.json").write_text(note)
    assert trees.stale([tree]) == {"stale": ["b"]}
    trees.missing([tree])
    put(trees, tmp_path, "bundles", "b", one="1")
    assert trees.stale([tree]) == {"stale": []}


@pytest.mark.parametrize(("kind", "name"), [("..", "b"), ("bundles", "../b"), ("bundles", ".b")])
def test_a_tree_lies_in_its_folder(tmp_path, kind, name):
    with pytest.raises(FaultError, match="no tree can be called"):
        Trees(tmp_path).stale([{"kind": kind, "name": name, "digest": ""}])


@pytest.mark.parametrize("path", ["/etc/x", "../x"])
def test_a_file_lies_in_its_tree(tmp_path, path):
    with pytest.raises(FaultError, match="no file can be called"):
        put(Trees(tmp_path), tmp_path, "data", "set", **{path: "x"})
