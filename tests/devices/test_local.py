"""This machine as a device: the bundle is measured in another process, and stays as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deploy.devices.errors import DeviceError
from deploy.devices.measure import measure_on
from deploy.devices.work import DeviceWork
from deploy.recipe.devices import DeviceRecipe
from deploy.runtime.bundle.manifest import read_manifest
from tests.helpers.commands import BACKENDS, output_of
from tests.helpers.two_segment_net import DEPLOY, write_net


@pytest.fixture(scope="module")
def unbuilt_bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    write_net(folder)
    words = [f"+backend={BACKENDS[0]}", "backend.build=device", "bundle=bundle"]
    output_of(*DEPLOY, *words, cwd=folder)
    return folder / "bundle"


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_engines_are_built_in_a_copy(unbuilt_bundle):
    before, told = content(unbuilt_bundle), []
    work = DeviceWork(rounds=1, seconds=0.1)
    record = measure_on(DeviceRecipe("here"), unbuilt_bundle, work, told.append)
    assert (record.device, record.status, len(record.latency)) == ("here", "passed", 1)
    assert {item.step for item in record.gaps} == {"body", "head", "chain"}
    assert "building body ..." in told
    assert content(unbuilt_bundle) == before
    assert read_manifest(unbuilt_bundle).verification.status == "pending"


def test_a_bundle_that_fails_is_one_error_with_its_reason(unbuilt_bundle, tmp_path):
    bundle = shutil.copytree(unbuilt_bundle, tmp_path / "bundle")
    (bundle / "sample" / "tensors.npz").write_bytes(b"x")
    with pytest.raises(DeviceError, match=r"device 'here': the bundle cannot be measured: bundle .*"
                                          r"'sample/tensors.npz'"):  # fmt: skip
        measure_on(DeviceRecipe("here"), bundle, DeviceWork(), lambda _: None)


def test_what_takes_too_long_is_ended(unbuilt_bundle):
    device = DeviceRecipe("here", timeout=0.05)
    with pytest.raises(DeviceError, match=r"cannot be measured: no end within 0\.05 s"):
        measure_on(device, unbuilt_bundle, DeviceWork(), lambda _: None)
