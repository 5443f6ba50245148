"""What a device lacks is one error, nothing half is left there, and the next run completes."""

from __future__ import annotations

import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.devices.errors import DeviceError
from deploy.runtime.device_record import RecordError
from tests.devices.conftest import RECORD
from tests.devices.stub_runtime import write_stub, write_wheel

BROKEN_INDEX = "[global]\nindex-url = http://127.0.0.1:9/simple\ntimeout = 1\n"


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def patched_python(folder: Path, python: str, code: str) -> str:
    """A Python there that runs some code at its start."""
    (folder / "sitecustomize.py").write_text(code)
    return script(folder / "python", f'PYTHONPATH={folder} exec {python} "$@"')


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)]
    subprocess.run(words, check=True, capture_output=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


def test_a_python_that_is_too_old(device_test, tmp_path):
    real = device_test.recipe.python
    code = 'import sys; sys.version_info = (3, 8, 10, "final", 0); exec(sys.argv[2])'
    old = script(tmp_path / "python3.8", f"exec {real} -c '{code}' \"$@\"")
    expected = "device 'pi': Python '.*python3.8': expected 3.11 or later, got 3.8.10. Install a la"
    with pytest.raises(DeviceError, match=expected):
        device_test.measure(python=old)
    device_test.measure()


def test_a_python_that_is_not_there(device_test):
    expected = "device 'pi' has no Python called 'python9.9': got .*Name another with device.python"
    with pytest.raises(DeviceError, match=expected):
        device_test.measure(python="python9.9")


def test_a_python_without_pip(device_test, tmp_path):
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    bare = str(tmp_path / "bare" / "bin" / "python")
    hidden = patched_python(tmp_path, bare, "import sys; sys.modules['ensurepip'] = None")
    with pytest.raises(DeviceError, match="device 'pi': its Python has no pip; install it"):
        device_test.measure(python=hidden)
    assert not device_test.folder.exists()


@pytest.mark.slow
def test_a_python_whose_pip_comes_with_it_has_one_in_the_environment(device_test, tmp_path):
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    device_test.measure(python=str(tmp_path / "bare" / "bin" / "python"))


def test_a_device_without_a_network_is_told_of_wheels_and_takes_them(
    device_test, tmp_path, monkeypatch
):
    pip = device_test.server.home / ".config" / "pip"
    pip.mkdir(parents=True)
    (pip / "pip.conf").write_text(BROKEN_INDEX)
    monkeypatch.setattr(
        "deploy.devices.runtime.pack_wheel",
        lambda folder: write_stub(folder, RECORD, "small-thing"),
    )
    expected = (
        "device 'pi': the runtime cannot be installed on the device: got No matching distribution "
        "found for small-thing.*give a folder with wheels: device.wheels=FOLDER"
    )
    with pytest.raises(DeviceError, match=expected):
        device_test.measure()
    assert not list((device_test.folder / "environments").iterdir())
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    thing = write_wheel(wheels, "small_thing", {"small_thing.py": ""})
    device_test.measure(wheels=str(wheels))
    thing.unlink()
    (wheels / "small_thing-0.0-cp311-cp311-manylinux_2_28_sparc.whl").write_bytes(b"")
    expected = "expected wheels for Python 3.* on .*, got 1 wheels, of which none fits"
    with pytest.raises(DeviceError, match=expected):
        device_test.measure(wheels=str(wheels))


def test_a_disk_that_is_too_small_is_told_before_anything_is_sent(device_test, small_disk):
    device_test.add_file("large", 20_000_000)
    expected = "device 'pi': the disk of '.*': expected 8\\d MB free, got [78] MB. Free space there"
    with pytest.raises(DeviceError, match=expected):
        device_test.measure(folder=str(small_disk / "chain"))
    assert not list((small_disk / "chain" / "objects").iterdir())


def test_a_disk_that_fills_up_while_files_are_sent(device_test, small_disk, monkeypatch):
    device_test.add_file("large", 20_000_000)
    monkeypatch.setattr("deploy.devices.transfer._SPARE", -(10**9))
    expected = "device 'pi': sftp cannot write the files there: got .*Free space there"
    with pytest.raises(DeviceError, match=expected):
        device_test.measure(folder=str(small_disk / "chain"))
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    device_test.measure(folder=str(small_disk / "chain"))


def test_a_disk_that_fills_up_while_the_runtime_is_installed(device_test, small_disk, monkeypatch):
    monkeypatch.setattr("deploy.devices.transfer._SPARE", 0)
    monkeypatch.setattr(
        "deploy.devices.runtime.pack_wheel",
        lambda folder: write_stub(folder, RECORD, size=2_000_000),
    )
    filler = small_disk / "filler"
    filler.write_bytes(bytes(7_000_000))
    folder = str(small_disk / "chain")
    expected = "device 'pi': the runtime cannot be installed .*No space left on device"
    with pytest.raises(DeviceError, match=expected):
        device_test.measure(folder=folder)
    filler.unlink()
    device_test.measure(folder=folder)


def test_a_folder_that_cannot_be_written(device_test):
    expected = "device 'pi': its folder /proc/chain cannot be written; choose another device.folder"
    with pytest.raises(DeviceError, match=expected):
        device_test.measure(folder="/proc/chain")


@pytest.mark.parametrize("folder", ["", "a\nb", 'a"b', "a*"])
def test_a_folder_with_odd_characters(device_test, folder):
    with pytest.raises(DeviceError, match="device 'pi': folder: expected a path without quotes"):
        device_test.measure(folder=folder)


def test_a_clock_that_is_wrong_is_told_and_times_are_the_desks(device_test, tmp_path):
    code = "import time; real = time.time; time.time = lambda: real() - 3 * 86400"
    wrong = patched_python(tmp_path, device_test.recipe.python, code)
    record = device_test.measure(python=wrong)
    assert any(line.startswith("its clock is 3.0 days behind") for line in device_test.told)
    assert record.at > "2026"


def test_an_environment_that_was_not_finished_is_made_again(device_test):
    device_test.measure()
    (environment,) = (device_test.folder / "environments").iterdir()
    (environment / "installed.json").unlink()
    (environment / "bin" / "python").unlink()
    device_test.measure()
    assert any(line.startswith("installing the runtime") for line in device_test.told)


def test_a_file_that_arrives_damaged_is_sent_again(device_test):
    name = device_test.add_file("engine", 1000)
    objects = device_test.folder / "objects"
    objects.mkdir(parents=True)
    (objects / f"{name}.part").write_bytes(bytes([1]) * 1000)
    (objects / "of another run.part").write_bytes(b"x")
    device_test.measure()
    assert not list(objects.iterdir())


def test_a_bundle_that_was_damaged_there_is_mended_after_one_error(device_test):
    device_test.measure()
    (engine,) = (device_test.folder / "bundles").glob("*/one/factor.txt")
    engine.write_text("9.9")
    device_test.does("sys.exit('error: file was changed')")
    with pytest.raises(DeviceError, match="got file was changed"):
        device_test.measure()
    device_test.does_nothing_else()
    device_test.measure()
    assert engine.read_text() == "2.0"
    assert any(line.startswith("sending 1 files") for line in device_test.told)


def test_an_engine_of_another_project_cannot_be_installed(device_test, make_bundle, tmp_path):
    with pytest.raises(DeviceError, match=r"the extra 'other': expected one of .*onnxruntime"):
        device_test.measure(extras=["other"])


def test_answers_that_are_no_record_are_refused(device_test):
    device_test.does("print('[]'); sys.exit()")
    with pytest.raises(RecordError, match="what device 'pi' has answered is no record"):
        device_test.measure()
