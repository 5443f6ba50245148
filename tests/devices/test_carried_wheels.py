"""Of a folder with wheels, those that a device needs are sent to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.devices.carried_wheels import carried_wheels, fits
from deploy.devices.errors import DeviceError
from deploy.devices.facts import DeviceFacts
from tests.devices.stub_runtime import write_wheel

FACTS = DeviceFacts(
    python="3.11.2", executable="/usr/bin/python3", system="Debian, Linux 6.1",
    architecture="aarch64", libc="glibc 2.36", cores=4, memory=0, governor="", disk=0,
    writable=True, pip=True, venv=True, ensurepip=True, rsync=True, clock=0.0, folder="/c",
    environments=(), bundles=(), holder="",
)  # fmt: skip


@pytest.fixture
def wheel_folder(tmp_path) -> Path:
    """The runtime's wheel, and a folder with what it needs and what it does not."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    requires = (
        "Small-Thing>=0", "engine>=1; extra == 'ncnn'", "other; extra == 'eval'",
        "for_windows; sys_platform == 'win32'", "runtime[ncnn]; extra == 'board'",
    )  # fmt: skip
    write_wheel(tmp_path, "runtime", {}, *requires)
    write_wheel(folder, "small_thing", {}, "deep; python_version >= '3.11'")
    for name in ("engine", "other", "for_windows", "deep", "unrelated"):
        write_wheel(folder, name, {})
    return folder


def names(folder: Path, *extras: str) -> list[str]:
    own = folder.parent / "runtime-0.0-py3-none-any.whl"
    return [path.name.partition("-")[0] for path in carried_wheels(folder, FACTS, own, extras)]


def test_the_wheels_of_the_extras_and_all_that_they_need_are_sent(wheel_folder):
    assert names(wheel_folder) == ["deep", "small_thing"]
    assert names(wheel_folder, "ncnn") == ["deep", "engine", "small_thing"]
    assert names(wheel_folder, "board", "eval") == ["deep", "engine", "other", "small_thing"]


def test_a_file_that_is_no_wheel_is_named(wheel_folder):
    (wheel_folder / "small_thing-1.0-py3-none-any.whl").write_bytes(b"no archive")
    with pytest.raises(DeviceError, match=r"small_thing-1.0-py3-none-any.whl' is no wheel"):
        names(wheel_folder)


@pytest.mark.parametrize(
    ("wheel", "fitting"),
    [
        ("a-1-py3-none-any.whl", True),
        ("a-1-py2.py3-none-any.whl", True),
        ("a-1-cp311-cp311-manylinux2014_aarch64.manylinux_2_17_aarch64.whl", True),
        ("a-1-cp39-abi3-manylinux_2_28_aarch64.whl", True),
        ("a-1-cp313-abi3-manylinux_2_28_aarch64.whl", False),
        ("a-1-cp310-cp310-manylinux_2_28_aarch64.whl", False),
        ("a-1-cp311-cp311-manylinux_2_28_x86_64.whl", False),
        ("a-1-py2-none-any.whl", False),
        ("a.whl", False),
    ],
)
def test_the_tags_of_a_name_decide(wheel, fitting):
    assert fits(wheel, "3.11.2", "aarch64") == fitting
