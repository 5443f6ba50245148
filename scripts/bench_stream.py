"""Pictures a second through ``Pipeline.stream``, beside one call after the other.

``scripts/bench stream``: real chains on 2 cores, each in a process of its own, with engines of one
thread and of two. A round takes the shipped scenes both ways; figures are of the rounds. Beside
them stands what overlapping could bring at the most: the whole over its longest part.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from bench_rounds import quartiles, spread

ROOT = Path(__file__).resolve().parent.parent
ROUNDS, PICTURES = 15, 32
BATCHES = "model.dynamic={batch: [1, 8, 8]}"
CHAINS: dict[str, tuple[str, ...]] = {
    "YOLOv3, ONNX Runtime": ("+model=yolov3", "+backend=onnxruntime"),
    "YOLOv3 cut in three, ONNX Runtime": (
        "+model=yolov3", "+partition=by_stage", "+backend=onnxruntime",
    ),
    "YOLOv3 cut in three, ncnn": ("+model=yolov3", "+partition=by_stage", "+backend=ncnn"),
    "YOLOv3 in batches of 8, ONNX Runtime": ("+model=yolov3", "+backend=onnxruntime", BATCHES),
    "Mask R-CNN, ONNX Runtime": ("+model=mask_rcnn", "+backend=onnxruntime"),
}  # fmt: skip


def main() -> None:
    """Measure and print a table."""
    print("| chain | threads | one by one, a second | streamed, a second | ratio | at the most |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, words) in enumerate(CHAINS.items()):
            bundle = Path(folder) / str(number)
            command = [sys.executable, "-m", "deploy", *words, f"bundle={bundle}"]
            command += ["bench.runs=0", "verify.images=1"]
            subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
            for threads in (1, 2):
                batch = "auto" if BATCHES in words else "1"
                print(_row(name, threads, _measured(bundle, threads, batch)), flush=True)


def _measured(bundle: Path, threads: int, batch: str) -> dict[str, list[float]]:
    words = [sys.executable, __file__, str(bundle), str(threads), batch]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


def _row(name: str, threads: int, found: dict[str, list[float]]) -> str:
    single, streamed = np.array(found["single"]), np.array(found["streamed"])
    return (
        f"| {name} | {threads} | {spread(quartiles(single), 1, 1)} "
        f"| {spread(quartiles(streamed), 1, 1)} | {spread(quartiles(streamed / single), 1, 2)} "
        f"| {found['most'][0]:.2f} |"
    )


def child(bundle: str, threads: str, batch: str) -> None:
    """Measure both ways, and print the rates of every round."""
    from deploy.runtime import Pipeline

    size = "auto" if batch == "auto" else 1
    with Pipeline.open(bundle, threads=int(threads), trusted=True) as pipeline:
        pictures = list(_pictures(pipeline.manifest.model))
        ways = {
            "single": lambda: [pipeline(picture) for picture in pictures],
            "streamed": lambda: list(pipeline.stream(pictures, batch=size)),
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(ROUNDS + 1):
            for name in sorted(ways, reverse=bool(turn % 2)):
                start = time.perf_counter()
                ways[name]()
                rates[name].append(len(pictures) / (time.perf_counter() - start))
        rows = [_parts(pipeline, picture) for picture in pictures]
    medians = np.median(rows, axis=0)
    measured = {name: found[1:] for name, found in rates.items()}  # the first warms up
    print(json.dumps({**measured, "most": [float(medians.sum() / medians.max())]}))


def _pictures(model: str) -> Iterator[Path]:
    folder = ROOT / "deploy" / "models" / model / "demo" / "eval"
    scenes = folder if list(folder.glob("*.jpg")) else ROOT / "deploy/models/yolov3/demo/eval"
    yield from sorted(scenes.glob("*.jpg"))[:PICTURES]


def _parts(pipeline: object, picture: Path) -> Sequence[float]:
    """Seconds of what can run at once: decoding with preparing, each step, and finishing."""
    from deploy.runtime.latency import timed_result as find_timed

    seconds = dict(find_timed(pipeline, picture)[1])
    first = seconds.pop("decode") + seconds.pop("pre")
    return [first, *(took for part, took in seconds.items() if part not in ("chain", "total"))]


if __name__ == "__main__":
    child(*sys.argv[1:])
