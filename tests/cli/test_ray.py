"""A sweep on a local Ray, as documented, ends with the same table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import BACKENDS, QUICK, run_process


@pytest.mark.slow
def test_a_sweep_on_a_ray_that_runs_already_ends_with_the_table(tmp_path: Path):
    ray = Path(sys.executable).with_name("ray")
    quiet = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    head = [ray, "start", "--head", "--port=0", "--num-cpus=2", "--include-dashboard=false"]
    started = subprocess.run(head, env=quiet, capture_output=True, text=True, check=False)
    assert started.returncode == 0, started.stderr
    try:
        done = run_process(
            "deploy", "-m", "hydra/launcher=ray", "hydra.launcher.ray.init.address=auto",
            "+hydra.launcher.ray.init.object_store_memory=null", "+model=yolov3",
            f"+backend={','.join(BACKENDS)}", QUICK, cwd=tmp_path,
        )  # fmt: skip
    finally:
        subprocess.run([ray, "stop", "--force"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "multirun").iterdir()
    rows = json.loads((sweep / "results.json").read_text())
    assert [row["backend"] for row in rows] == BACKENDS
    assert {row["status"] for row in rows} == {"passed"}
    assert all((Path(row["bundle"]) / "manifest.json").is_file() for row in rows)
