#!/usr/bin/env python3
"""Time what a new user types first, with  .venv/bin/python scripts/bench_first_run.py [--rounds N].

Each command is a process of its own, timed from outside: wall-clock seconds, and the CPU seconds of
it and its children, which a busy machine changes less. "Cold" is with a new home folder and without
``__pycache__`` of this project, "warm" the same command again. Beside it stand exports without this
project: ``torch.onnx.export`` alone, and the usual script around it: export, onnxslim where it is
installed, and a comparison in ONNX Runtime.

``--repository`` times another checkout, so that two can be compared in turn.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MY_NET = """\
from torch import nn
def net():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3))
"""
INPUTS = "model.inputs={image: {shape: [1, 3, 64, 64]}}"
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "main job, yolov3": ("deploy", "+model=yolov3", "+backend=onnxruntime"),
    "two convolutions": (
        ("deploy", "+model=module", "model.target=my_net:net", INPUTS, "+backend=onnxruntime")
    ),
    "inspect yolov3": ("deploy", "inspect", "yolov3"),
    "--help": ("deploy", "--help"),
}
MODEL = """\
import sys, torch
from deploy.cli.compose import compose
from deploy.export.build_model import build_model
model = build_model(compose(["+model=yolov3"]).model)
image = torch.rand(1, 3, 320, 320)
"""
EXPORT = """\
with torch.no_grad():
    torch.onnx.export(model, (image,), "plain.onnx", input_names=["image"], dynamo=True)
"""
CHECK = """\
import onnx, numpy as np, onnxruntime as ort
graph = onnx.load("plain.onnx")
try:
    import onnxslim
except ImportError:
    print("without onnxslim")
else:
    graph = onnxslim.slim(graph)
onnx.save(graph, "slim.onnx")
session = ort.InferenceSession("slim.onnx", providers=["CPUExecutionProvider"])
found = session.run(None, {"image": image.numpy()})
with torch.no_grad():
    expected = model(image)
for one, other in zip(found, expected):
    assert np.allclose(one, other.numpy(), rtol=1e-3, atol=1e-3)
"""
SCRIPTS = {
    "building the model alone": MODEL,
    "torch.onnx.export alone": MODEL + EXPORT,
    "export, onnxslim, check in ONNX Runtime": MODEL + EXPORT + CHECK,
}


@dataclass(frozen=True)
class Timed:
    """Seconds of a process, and the total that it printed, if it did."""

    wall: float
    cpu: float
    printed: float | None


def timed(command: list[str], folder: Path, home: Path, repository: Path) -> Timed:
    """Run a command in a folder to its end."""
    env = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    paths = (str(repository), os.environ.get("PYTHONPATH", ""))
    env["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{command}\n{done.stdout}{done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    total = re.search(r"^total +([\d.]+)", done.stdout, re.MULTILINE)
    return Timed(wall, cpu, float(total[1]) if total else None)


def forget(repository: Path) -> None:
    """Remove what Python and numba keep of the project's own code."""
    for package in ("deploy", "backends"):
        for folder in [*(repository / package).rglob("__pycache__")]:
            shutil.rmtree(folder, ignore_errors=True)


def print_row(name: str, runs: list[Timed]) -> None:
    """The medians of some runs as a row of a table."""
    printed = [run.printed for run in runs if run.printed is not None]
    shown = f"{statistics.median(printed):.1f}" if printed else ""
    wall = statistics.median(run.wall for run in runs)
    cpu = statistics.median(run.cpu for run in runs)
    print(f"| {name} | {wall:.1f} | {cpu:.1f} | {shown} |", flush=True)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repository", type=Path, default=ROOT)
    parser.add_argument("--scripts", action="store_true", help="time the plain exports too")
    arguments = parser.parse_args()
    repository = arguments.repository.resolve()
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    print("| command | wall, s | CPU, s | printed |\n|---|---|---|---|")
    for name, words in COMMANDS.items():
        runs: dict[str, list[Timed]] = {"cold": [], "warm": []}
        for _ in range(arguments.rounds):
            with tempfile.TemporaryDirectory() as scratch:
                folder, home = Path(scratch, "here"), Path(scratch, "home")
                folder.mkdir()
                home.mkdir()
                (folder / "my_net.py").write_text(MY_NET)
                forget(repository)
                for state in runs:
                    command = [sys.executable, "-m", *words]
                    runs[state].append(timed(command, folder, home, repository))
        for state, of_state in runs.items():
            print_row(f"{name}, {state}", of_state)
    for name, code in SCRIPTS.items() if arguments.scripts else ():
        with tempfile.TemporaryDirectory() as scratch:
            command = [sys.executable, "-c", code]
            here = Path(scratch)
            runs_of = [timed(command, here, here, repository) for _ in range(arguments.rounds)]
        print_row(name, runs_of)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
