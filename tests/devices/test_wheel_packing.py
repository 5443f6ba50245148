"""The wheel that is packed at the desk is the one that the build makes."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from deploy.devices.wheel import pack_wheel

ROOT = Path(__file__).parents[2]


def test_the_same_packages_give_the_same_bytes(tmp_path):
    first, second = (tmp_path / name for name in ("first", "second"))
    first.mkdir()
    second.mkdir()
    assert pack_wheel(first).read_bytes() == pack_wheel(second).read_bytes()


def test_the_wheel_has_the_runtime_and_no_demo(tmp_path):
    names = zipfile.ZipFile(pack_wheel(tmp_path)).namelist()
    assert {"deploy/runtime/__main__.py", "backends/py.typed", "deploy/conf/deploy.yaml"} < {*names}
    assert not [name for name in names if "/demo/" in name or "__pycache__" in name]


@pytest.mark.slow
def test_it_has_the_files_of_the_wheel_that_the_build_makes(tmp_path):
    words = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    (built,) = tmp_path.glob("*.whl")
    built_files = zipfile.ZipFile(built)
    (tmp_path / "packed").mkdir()
    packed_files = zipfile.ZipFile(pack_wheel(tmp_path / "packed"))
    assert {*packed_files.namelist()} == {*built_files.namelist()}
    for name in built_files.namelist():
        if ".dist-info/" not in name:
            assert packed_files.read(name) == built_files.read(name), name
