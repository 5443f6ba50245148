"""An x86 device behind an OpenSSH server on the loopback: a Python there, and nothing of a desk."""

from __future__ import annotations

import venv
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from deploy.devices.measure import measure_on
from deploy.devices.work import DeviceWork
from deploy.recipe.devices import DeviceRecipe
from deploy.runtime.benchmark.machine import Machine
from deploy.runtime.bundle.integrity import file_entry
from deploy.runtime.bundle.manifest import read_manifest, write_manifest
from deploy.runtime.device_record import DeviceRecord
from tests.conftest import step
from tests.devices.ssh_server import SshServer
from tests.devices.stub_runtime import write_stub

RECORD = DeviceRecord(
    device="",
    at="",
    machine=Machine("Linux", "x86_64", "a processor", 2, 1 << 30, "3.11", {}),
    status="passed",
)


@pytest.fixture(scope="session")
def device_python(tmp_path_factory) -> Path:
    """A Python without packages, as a device has it."""
    folder = tmp_path_factory.mktemp("device-python")
    venv.create(folder, with_pip=True, symlinks=True)
    return folder / "bin" / "python"


@pytest.fixture
def ssh_server(tmp_path) -> Iterator[SshServer]:
    server = SshServer(tmp_path / "server")
    yield server
    server.stop()


@dataclass
class DeviceTest:
    """A device, a bundle for it, and what is told of a run."""

    server: SshServer
    recipe: DeviceRecipe
    bundle: Path
    told: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Of the device."""
        return Path(self.recipe.folder)

    def measure(self, work: DeviceWork | None = None, **changes: object) -> DeviceRecord:
        """Measure the bundle there; ``told`` has the lines of this run alone."""
        self.told.clear()
        device = replace(self.recipe, **changes)
        return measure_on(device, self.bundle, work or DeviceWork(), self.told.append)

    def add_file(self, name: str, size: int) -> str:
        """Add an engine's file to the bundle; returns its hash."""
        path = self.bundle / name
        with path.open("wb") as file:
            file.truncate(size)
        manifest = read_manifest(self.bundle)
        added = file_entry(path, "engine")
        write_manifest(self.bundle, replace(manifest, files={**manifest.files, name: added}))
        return added.sha256

    def does(self, code: str) -> None:
        """What the runtime there does first."""
        (self.server.home / "do").write_text(code)

    def does_nothing_else(self) -> None:
        """The runtime answers as usual again."""
        (self.server.home / "do").unlink(missing_ok=True)


@pytest.fixture
def device_test(ssh_server, device_python, make_bundle, monkeypatch, tmp_path) -> DeviceTest:
    """A device whose runtime is a stub, which pip installs without a network."""

    def pack(folder: Path) -> Path:
        return write_stub(folder, RECORD)

    monkeypatch.setattr("deploy.devices.runtime.pack_wheel", pack)
    recipe = DeviceRecipe(
        "pi",
        host="device",
        python=str(device_python),
        folder=str(tmp_path / "on device" / "chain"),
        ssh=ssh_server.options,
        timeout=60,
    )
    named = replace(step("one", "x", "y"), backend="onnxruntime")
    return DeviceTest(ssh_server, recipe, make_bundle([(named, 2.0)]))
