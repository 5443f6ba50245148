#!/usr/bin/env python3
"""Time what a new user types first, with  .venv/bin/python scripts/bench_first_run.py [--rounds N].

Each command is a process of its own, timed from outside: wall-clock seconds, and the CPU seconds of
it and its children, which a busy machine changes less. "Cold" is with a new home folder and without
``__pycache__`` of this project, "warm" the same command again. Beside it stand exports without this
project: ``torch.onnx.export`` alone, and the usual script around it: export, onnxslim where it is
installed, and a comparison in ONNX Runtime.

``--by-hand`` times the main job and that script alone, in rounds of one run of each, and prints how
often the script's time the main job takes. ``--repository`` times another checkout; given several
times with ``--by-hand``, each of them in each round.
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
from collections.abc import Mapping, Sequence
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
import torch, deploy.models.yolov3.build
from pathlib import Path
from safetensors.torch import load_file
here = Path(deploy.models.yolov3.build.__file__).parent
model = deploy.models.yolov3.build.YOLOv3("darknet53", 10, 0.25)
model.load_state_dict(load_file(here / "demo/weights.safetensors"))
model.eval()
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
BY_HAND = MODEL + EXPORT + CHECK
SCRIPTS = {
    "building the model alone": MODEL,
    "torch.onnx.export alone": MODEL + EXPORT,
    "export, onnxslim, check in ONNX Runtime": BY_HAND,
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


def cold_and_warm(words: Sequence[str], repository: Path) -> tuple[Timed, Timed]:
    """Run a command with a new home folder, and again."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, home = Path(scratch, "here"), Path(scratch, "home")
        folder.mkdir()
        home.mkdir()
        (folder / "my_net.py").write_text(MY_NET)
        forget(repository)
        command = [sys.executable, "-m", *words]
        cold = timed(command, folder, home, repository)
        return cold, timed(command, folder, home, repository)


def script(code: str, repository: Path) -> Timed:
    """Run a script without this project's pipeline."""
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        return timed([sys.executable, "-c", code], here, here, repository)


def print_row(name: str, runs: Sequence[Timed]) -> None:
    """The medians of some runs as a row of a table."""
    printed = [run.printed for run in runs if run.printed is not None]
    shown = f"{statistics.median(printed):.1f}" if printed else ""
    wall = statistics.median(run.wall for run in runs)
    cpu = statistics.median(run.cpu for run in runs)
    print(f"| {name} | {wall:.1f} | {cpu:.1f} | {shown} |", flush=True)


def print_commands(rounds: int, repository: Path) -> None:
    """Each command, cold and warm."""
    print("| command | wall, s | CPU, s | printed |\n|---|---|---|---|")
    for name, words in COMMANDS.items():
        cold, warm = zip(*(cold_and_warm(words, repository) for _ in range(rounds)), strict=True)
        print_row(f"{name}, cold", cold)
        print_row(f"{name}, warm", warm)


def print_scripts(rounds: int, repository: Path) -> None:
    """Each script without this project's pipeline, as further rows."""
    for name, code in SCRIPTS.items():
        print_row(name, [script(code, repository) for _ in range(rounds)])


def print_by_hand(rounds: int, repositories: Sequence[Path]) -> None:
    """The main job of each checkout beside the script, in rounds of one run of each."""
    runs: dict[str, list[Timed]] = {}
    for number in range(rounds):
        runs.setdefault("by hand", []).append(script(BY_HAND, repositories[0]))
        for repository in repositories:
            both = cold_and_warm(COMMANDS["main job, yolov3"], repository)
            for state, run in zip(("cold", "warm"), both, strict=True):
                place = f", {repository.name}" if len(repositories) > 1 else ""
                runs.setdefault(f"main job, {state}{place}", []).append(run)
        print(f"round {number + 1} of {rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
    print("\n| what | wall, s | CPU, s | times by hand, wall | CPU |\n|---|---|---|---|---|")
    for name, of_name in runs.items():
        print(ratio_row(name, of_name, runs["by hand"]))


def ratio_row(name: str, runs: Sequence[Timed], by_hand: Sequence[Timed]) -> str:
    """Medians, and the medians of the ratios in each round with the lowest and highest."""
    wall = sorted(run.wall / other.wall for run, other in zip(runs, by_hand, strict=True))
    cpu = sorted(run.cpu / other.cpu for run, other in zip(runs, by_hand, strict=True))
    cells = (
        name,
        f"{statistics.median(run.wall for run in runs):.1f}",
        f"{statistics.median(run.cpu for run in runs):.1f}",
        f"{statistics.median(wall):.2f} ({wall[0]:.2f} to {wall[-1]:.2f})",
        f"{statistics.median(cpu):.2f} ({cpu[0]:.2f} to {cpu[-1]:.2f})",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repository", type=Path, action="append", default=[])
    parser.add_argument("--scripts", action="store_true", help="time the plain exports too")
    parser.add_argument("--by-hand", action="store_true", help="the main job beside a script")
    arguments = parser.parse_args()
    repositories = [path.resolve() for path in arguments.repository] or [ROOT]
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores\n")
    if arguments.by_hand:
        print_by_hand(arguments.rounds, repositories)
    else:
        print_commands(arguments.rounds, repositories[0])
        if arguments.scripts:
            print_scripts(arguments.rounds, repositories[0])
    print(f"\nload {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
