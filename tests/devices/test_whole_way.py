"""From a PyTorch model to a report with a device, by the command that a user types."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.cli.devices import device_recipe
from deploy.devices.measure import measure_on
from deploy.devices.work import DeviceWork
from deploy.runtime.bundle.manifest import read_manifest
from tests.helpers.commands import output_of

pytestmark = pytest.mark.slow


def test_a_run_measures_its_bundle_on_a_device(ssh_server, device_python, tmp_path):
    folder = tmp_path / "my" / "device"
    folder.mkdir(parents=True)
    text = f"host: board\npython: {device_python}\nfolder: {tmp_path}/on device\n"
    (folder / "board.yaml").write_text(text)
    options = f"device.ssh=[-F,'{ssh_server.folder}/ssh_config']"
    bundle = tmp_path / "bundle"
    words = ["--config-dir", str(folder.parent), "model=yolov3", "backend=onnxruntime"]
    words += ["device=board", options, f"bundle={bundle}", "bench.rounds=2", "bench.seconds=0.5"]
    printed = output_of("deploy", *words, cwd=tmp_path)
    assert "board" in printed
    (entry,) = read_manifest(bundle).devices
    assert (entry.name, entry.status) == ("board", "passed")
    assert "board" in Path(f"{bundle}.work", "report.html").read_text()

    told: list[str] = []
    device = device_recipe("board", [options], folder.parent)
    again = measure_on(device, bundle, DeviceWork(), told.append)
    assert again.status == "passed"
    assert "nothing to send: all files are there" in told
