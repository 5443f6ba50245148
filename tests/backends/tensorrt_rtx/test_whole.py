"""From a desk without a GPU to a device with one, each command in a process, as a user types it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from deploy.runtime.bundle.manifest import read_manifest
from tests.helpers.commands import Completed, run_process
from tests.helpers.two_segment_net import DEPLOY, write_net

pytestmark = pytest.mark.slow

RTX = [*DEPLOY, "+backend=tensorrt_rtx", "bundle=bundle", "cache=false"]
A_GPU = {"SIM_CUDA_DEVICES": "Simulated RTX:8.6:1073741824"}
ANOTHER_GPU = {"SIM_CUDA_DEVICES": "Simulated old:7.5:1073741824"}
NEWER = {**A_GPU, "SIM_TENSORRT_RTX_VERSION": "1.8.0.1"}


def desk_without(what: str) -> dict[str, str]:
    """The environment of a process that has no GPU, or not even a driver."""
    if what == "gpu":
        return {"SIM_CUDA_DEVICES": ""}
    paths = os.environ["LD_LIBRARY_PATH"].split(os.pathsep)
    return {"LD_LIBRARY_PATH": os.pathsep.join(path for path in paths if "simulator" not in path)}


def commanded(folder: Path, command: str, *words: str, **environment: str) -> Completed:
    """A command of the device on the bundle."""
    return run_process("deploy.runtime", command, "bundle", *words, cwd=folder, **environment)


@pytest.mark.parametrize("missing", ["gpu", "driver"])
def test_built_on_a_desk_verified_and_run_on_a_device(tmp_path, missing):
    write_net(tmp_path)
    ended = run_process(*RTX, cwd=tmp_path, **desk_without(missing))
    assert ended.returncode == 0, ended.stderr
    pending = (
        "agreement   not measured yet: the device verifies body, head (built here: tensorrt_rtx"
    )
    assert pending in ended.stdout
    engines = {path: path.read_bytes() for path in (tmp_path / "bundle").rglob("*.rtx")}
    assert len(engines) == 2

    refused = commanded(tmp_path, "check", **A_GPU)
    assert refused.returncode == 1
    assert "python -m deploy.runtime build bundle" in refused.stderr
    for elsewhere, reason in (
        (ANOTHER_GPU, "unsupported compute capability"),
        (NEWER, "it is of another version"),
    ):
        refused = commanded(tmp_path, "build", **elsewhere)
        assert refused.returncode == 1 and "Traceback" not in refused.stderr
        assert f"the engine of 'body' cannot be loaded here: {reason}" in refused.stderr

    report = {"SIM_CUDA_REPORT": str(tmp_path / "left.json")}
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    for command in ("build", "check"):
        ended = commanded(tmp_path, command, **A_GPU, **report, **cache)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "BAD" not in ended.stdout and "building" not in ended.stdout
    assert {path: path.read_bytes() for path in engines} == engines
    manifest = read_manifest(tmp_path / "bundle")
    assert manifest.verification.status == "passed"
    assert not any(step.unverified for step in manifest.steps)
    kernels = sorted(tmp_path.glob("cache/backend-chain/kernels/*"))
    assert [path.name[17:] for path in kernels] == [
        "simulated-rtx-8.6-cuda-13.0-rtx-1.7.1.116",
        "simulated-rtx-8.6-cuda-13.0-rtx-1.7.1.116",
    ]
    left = [json.loads(line)["live"] for line in (tmp_path / "left.json").read_text().splitlines()]
    kinds = ("memory", "bytes", "host", "stream", "event", "graph", "context")
    assert left and not any(live[kind] for live in left for kind in kinds)
