"""A bundle's latency, taken by the device's own command in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from backends.contract import EngineError


@dataclass(frozen=True)
class Latency:
    """Milliseconds from a picture to detections, or of the chain where there is no picture."""

    p50: float
    p90: float


def benchmark(bundle: Path, runs: int) -> Latency:
    """Run ``deploy.runtime bench`` on the bundle.

    Raises:
        EngineError: the bundle does not run on its own.
    """
    command = [sys.executable, "-m", "deploy.runtime", "bench", str(bundle)]
    done = subprocess.run(
        [*command, "--runs", str(runs), "--json", "-"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EngineError(f"the bundle does not run on its own: {done.stderr.strip()}")
    total = json.loads(done.stdout)["total"]
    return Latency(total["p50"], total["p90"])
