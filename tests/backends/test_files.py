"""A temporary folder is gone after its block, whenever an interruption comes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from backends import files
from backends.files import PARTIAL, atomic_write, temporary_folder
from tests.helpers.interruptions import interrupt_once

ROOT = Path(files.__file__).resolve().parents[1]
STANDALONE = "deploy/devices/on_device/"  # programs that have the standard library alone


@pytest.mark.parametrize(
    ("owner", "name", "when"),
    [(Path, "mkdir", "after"), (shutil, "rmtree", "before"), (shutil, "rmtree", "after")],
    ids=["as it is made", "before it is removed", "after it is removed"],
)
def test_an_interruption_leaves_no_temporary_folder(tmp_path, monkeypatch, owner, name, when):
    interrupt_once(monkeypatch, owner, name, when=when)
    with pytest.raises(KeyboardInterrupt), temporary_folder(tmp_path) as folder:
        (folder / "file").write_text("half")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    target = tmp_path / "file"
    target.write_text("old")
    interrupt_once(monkeypatch, files, "fsync_path", when="before")
    with pytest.raises(KeyboardInterrupt), atomic_write(target) as part:
        part.write_text("new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_temporary_folder_is_ones_own_and_tells_whose_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with temporary_folder() as of_the_system, temporary_folder(tmp_path) as beside:
        assert of_the_system.parent == beside.parent == tmp_path
        assert of_the_system.name.startswith("deploy-") and beside.name.startswith(PARTIAL)
        assert of_the_system.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), temporary_folder(tmp_path / "nowhere"):
        pass


def test_no_other_code_makes_temporary_folders_that_an_interruption_may_leave():
    sources = [path for room in ("backends", "deploy") for path in (ROOT / room).rglob("*.py")]
    users = {
        name
        for path in sources
        if "tempfile.TemporaryDirectory(" in path.read_text()
        and not (name := path.relative_to(ROOT).as_posix()).startswith(STANDALONE)
    }
    assert len(sources) > 300
    assert users == set(), "use backends.files.temporary_folder"
