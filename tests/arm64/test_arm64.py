"""A bundle of this machine on an emulated ARM64 device; ``scripts/check-arm64`` has the rest."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.arm64.device import FOLDER, ROOT, make_device
from tests.helpers.commands import output_of
from tests.helpers.two_segment_net import DEPLOY, write_net


@pytest.mark.slow
def test_a_bundle_made_here_agrees_on_an_arm64_device(tmp_path):
    write_net(tmp_path)
    output_of(*DEPLOY, "+backend=ncnn", f"bundle={tmp_path / 'net'}", cwd=tmp_path)
    device = make_device(FOLDER, tmp_path / "device", "ncnn")
    machine = "import ncnn, platform; print(platform.machine(), ncnn.cpu_support_arm_asimdhp() > 0)"
    assert device.output_of("-c", machine).split() == ["aarch64", "True"]
    bundle = device.bring(tmp_path / "net")
    for isolate in ("auto", "never"):  # in a process of its own, and behind a trial in one
        said = device.output_of("-m", "deploy.runtime", "check", "--isolate", isolate, bundle)
        assert said.startswith("ok  logits")
        assert "BAD" not in said


def test_a_machine_without_debians_tools_is_told_what_is_missing(tmp_path):
    for tool in ("sh", "dirname"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    ended = subprocess.run(
        [ROOT / "scripts" / "setup-arm64", tmp_path / "device"],
        env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr == (
        "error: the ARM64 device is made of Debian's packages, and apt-get was not found. "
        "Run this on Debian or in a container of it, with apt, dpkg and util-linux.\n"
    )
    assert not (tmp_path / "device").exists()
