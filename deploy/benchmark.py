"""A bundle's latency, taken by the device's own command in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from backends.contract import EngineError


@dataclass(frozen=True)
class Part:
    """Milliseconds of one part of a call: a step's, or what is around the steps."""

    name: str
    p50: float
    p90: float
    p99: float
    mean: float


@dataclass(frozen=True)
class Latency:
    """Milliseconds from a picture to detections, or of the chain where there is no picture.

    Attributes:
        p50: of the whole.
        p90: of the whole.
        parts: of every part, the whole last.
        runs: that they were taken from.
    """

    p50: float
    p90: float
    parts: tuple[Part, ...] = ()
    runs: int = 0


def benchmark(bundle: Path, runs: int) -> Latency:
    """Run ``deploy.runtime bench`` on the bundle.

    Raises:
        EngineError: the bundle does not run on its own.
    """
    command = [sys.executable, "-m", "deploy.runtime", "bench", str(bundle), "--as-made"]
    done = subprocess.run(
        [*command, "--runs", str(runs), "--json", "-"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise EngineError(f"the bundle does not run on its own: {done.stderr.strip()}")
    parts = tuple(Part(name, **figures) for name, figures in json.loads(done.stdout).items())
    total = parts[-1]
    return Latency(total.p50, total.p90, parts, runs)
