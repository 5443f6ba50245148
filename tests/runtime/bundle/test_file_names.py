"""Files of a bundle that are one file on some systems, or a folder; and folders that it lacks."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.files import names_fault
from deploy.runtime.bundle.archive import pack, unpack
from deploy.runtime.bundle.integrity import verify_all
from deploy.runtime.bundle.manifest import MANIFEST, SIGNATURE, BundleError, read_manifest
from tests.helpers.commands import run_here

COMPOSED, DECOMPOSED = "caf\u00e9.txt", "cafe\u0301.txt"
CLASHES = {
    "capital letters": (["a/Model.bin", "a/model.bin"], "are one file on some systems"),
    "the manifest": (["MANIFEST.json"], "are one file on some systems"),
    "the signature": (["Manifest.Sig"], "are one file on some systems"),
    "an accent": ([COMPOSED, DECOMPOSED], "are one file on some systems"),
    "sharp s": (["stra\u00dfe", "STRASSE"], "are one file on some systems"),
    "below the signature": ([f"{SIGNATURE}/x"], "is a file, and the folder of"),
    "below the manifest": ([f"{MANIFEST}/x/y"], "is a file, and the folder of"),
    "below a file": (["a", "a/b"], "is a file, and the folder of"),
    "below a file of capital letters": (["A", "a/b/c"], "is a file, and the folder of"),
}


@pytest.mark.parametrize("clash", CLASHES)
def test_names_that_clash_are_found_in_any_order(clash):
    names, fault = CLASHES[clash]
    listed = [MANIFEST, SIGNATURE, *names]
    assert fault in names_fault(listed)
    assert fault in names_fault(listed[::-1])


def test_names_that_do_not_clash_are_accepted():
    assert (
        names_fault([MANIFEST, SIGNATURE, "a/b", "a/c", "b", "ab", COMPOSED, "A b", "a/d/e"]) == ""
    )


def changed(bundle: Path, change: Callable[[dict], None]) -> Path:
    manifest = json.loads((bundle / MANIFEST).read_text())
    change(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    return bundle


def with_names(bundle: Path, names: list[str]) -> Path:
    """The bundle, whose manifest lists files of these names too; each holds nothing."""
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    entry = {"sha256": empty, "size": 0, "kind": "picture"}
    return changed(bundle, lambda manifest: manifest["files"].update(dict.fromkeys(names, entry)))


@pytest.mark.parametrize("clash", CLASHES)
@pytest.mark.parametrize("kind", [".tar", ".zip"])
def test_neither_a_manifest_nor_an_archive_may_list_them(clash, kind, make_bundle, tmp_path):
    names, fault = CLASHES[clash]
    bundle, archive = make_bundle(), tmp_path / f"a{kind}"
    pack(bundle, archive)
    with_names(bundle, names)
    with pytest.raises(BundleError, match=fault):
        read_manifest(bundle)
    _write(archive, bundle, names)
    with pytest.raises(BundleError, match=fault):
        unpack(archive, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def _write(archive: Path, bundle: Path, names: list[str]) -> None:
    """An archive of the bundle as its manifest now says, with an empty file of each name."""
    there = {
        path.relative_to(bundle).as_posix(): path for path in bundle.rglob("*") if path.is_file()
    }
    (bundle.parent / "empty").touch()
    members = {**there, **dict.fromkeys(names, bundle.parent / "empty")}
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            for name, path in members.items():
                zipped.write(path, name)
        return
    with tarfile.open(archive, "w") as tarred:
        for name, path in members.items():
            tarred.add(path, name)


@pytest.mark.parametrize("name", [SIGNATURE, "extra", "sample/extra", "one/a/b"])
def test_a_folder_that_the_manifest_does_not_need_is_refused(name, make_bundle, tmp_path):
    bundle = make_bundle()
    (bundle / name).mkdir(parents=True)
    for words in (["verify", bundle], ["pack", bundle, tmp_path / "a.tar"]):
        ended = run_here("deploy", "bundle", *words, cwd=tmp_path)
        assert ended.returncode == 1
        assert f"'{name if '/b' not in name else 'one/a'}' is not in its manifest" in ended.stderr


def test_a_link_in_the_place_of_the_signature_is_refused(make_bundle, tmp_path):
    bundle = make_bundle()
    (bundle / SIGNATURE).symlink_to(tmp_path / "bundle" / MANIFEST)
    with pytest.raises(BundleError, match=f"{SIGNATURE} is a symbolic link"):
        verify_all(bundle, read_manifest(bundle))


@pytest.mark.parametrize("text", ["m\nok   all is well", "\n"])
@pytest.mark.parametrize("place", ["model", "classes", "tools"])
def test_a_name_with_a_line_of_its_own_is_refused(text, place, make_bundle):
    values = {"model": text, "classes": [text], "tools": {text: "1"}}
    bundle = changed(make_bundle(), lambda manifest: manifest.update({place: values[place]}))
    with pytest.raises(BundleError, match="has a text with a line break"):
        read_manifest(bundle)


def test_a_backslash_before_an_n_is_no_line_break(make_bundle):
    bundle = changed(make_bundle(), lambda manifest: manifest.update(model="a\\n b\\\\n"))
    assert read_manifest(bundle).model == "a\\n b\\\\n"
