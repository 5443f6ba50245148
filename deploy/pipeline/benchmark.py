"""A bundle's latency, taken by the device's own command in a process of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from backends.contract import EngineError
from backends.process.child import module_command
from deploy.report.run_result import Latency
from deploy.runtime.latency import PartLatency


def benchmark(bundle: Path, runs: int) -> Latency:
    """Run ``deploy.runtime bench`` on the bundle.

    Raises:
        EngineError: the bundle does not run on its own.
    """
    command = module_command("deploy.runtime", "bench", str(bundle), "--as-made")
    done = subprocess.run(
        [*command, "--runs", str(runs), "--json", "-"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise EngineError(f"the bundle does not run on its own: {done.stderr.strip()}")
    parts = tuple(PartLatency(name, **figures) for name, figures in json.loads(done.stdout).items())
    total = parts[-1]
    return Latency(total.p50, total.p90, parts, runs)
