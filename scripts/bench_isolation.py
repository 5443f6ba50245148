"""What it costs to run a bundle in a process of its own.

``scripts/bench isolation``: the demo's pictures, and tensors of 1 and 10 MB that an engine returns
as they are, in this process and in one of its own. Engines have one thread. Figures are the medians
of rounds in which both are called in turns; the cost is the median of the rounds' differences.

The engine's own time varies by more than the cost. The second row leaves it out: it has the time of
a call that is spent around the engine, the preprocessing and the post-processing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_rounds import paired, quartiles, spread
from onnx import helper

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backends.contract import TensorSpec
from deploy.runtime import Pipeline
from deploy.runtime.vision.image import load_image
from tests.helpers.onnx_bundles import onnx_bundle

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "deploy" / "models" / "yolov3" / "demo" / "samples" / "scene_03.png"
MEGABYTES = (0, 1, 10)
CALLS = 300
OPENINGS = 7


def main() -> None:
    """Measure and print a table."""
    print("| call | in this process, ms | in a process of its own, ms | cost, ms |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        demo = Path(folder) / "demo"
        words = ["+model=yolov3", "+backend=onnxruntime", f"bundle={demo}", "bench.runs=0"]
        command = [sys.executable, "-m", "deploy", *words]
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        _measure_pictures(demo)
        for megabytes in MEGABYTES:
            _measure_tensors(Path(folder) / str(megabytes), megabytes)
        _measure_opening(demo)


def _measure_pictures(bundle: Path) -> None:
    picture = load_image(PICTURE)
    here = Pipeline.open(bundle, threads=1, trusted=True)
    apart = Pipeline.open(bundle, threads=1, isolate="always")
    with here, apart:
        _print_row("a picture of the demo", paired(lambda: here(picture), lambda: apart(picture)))
        calls = [(_around(here, picture), _around(apart, picture)) for _ in range(CALLS)]
    _print_row("of it, around the engine and the host's code", np.array(calls))


def _around(pipeline: Pipeline, picture: np.ndarray) -> float:
    """Seconds of a call that are no step's, nor of preprocessing or post-processing."""
    seconds: dict[str, float] = {}
    pipeline.timed(picture, seconds)
    return seconds["chain"]


def _measure_tensors(folder: Path, megabytes: int) -> None:
    count = max(1, megabytes * 1_000_000 // 4)
    specs = [TensorSpec(name, "float32", (count,)) for name in "xy"]
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    bundle = onnx_bundle(folder, nodes, inputs=(specs[0],), outputs=(specs[1],))
    inputs = {"x": np.ones(count, np.float32)}
    here = Pipeline.open(bundle, threads=1, trusted=True)
    apart = Pipeline.open(bundle, threads=1, isolate="always")
    name = f"{megabytes} MB to the engine and back" if megabytes else "4 bytes there and back"
    with here, apart:
        _print_row(name, paired(lambda: here.chain(inputs), lambda: apart.chain(inputs)))


def _print_row(name: str, seconds: np.ndarray) -> None:
    here, apart = (spread(quartiles(seconds[:, way]), 1e3, 3) for way in (0, 1))
    cost = spread(quartiles(seconds[:, 1] - seconds[:, 0]), 1e3, 3)
    print(f"| {name} | {here} | {apart} | {cost} |", flush=True)


def _measure_opening(bundle: Path) -> None:
    def opening(**how: object) -> float:
        start = time.perf_counter()
        with Pipeline.open(bundle, threads=1, **how):
            return time.perf_counter() - start

    opening(trusted=True)
    rounds = [(opening(trusted=True), opening(isolate="always")) for _ in range(OPENINGS)]
    _print_row("opening the demo", np.array(rounds))
