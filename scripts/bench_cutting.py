"""Where the time goes that a chain of several ONNX Runtime engines takes more than one engine.

``scripts/bench cutting``: chains of the demo models, whole and cut, whose threads wait for work
always, within a call, or never; the segments by hand with one pool of threads for all of them; and
on one thread, where there is nobody to wait for. Each way is a
process of its own that is started anew several times, and rounds are taken in turns, as in
``scripts/bench engines``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from bench_engines import ROOT, in_rounds
from bench_rounds import quartiles, spread

SETS, ROUNDS = 9, 3  # of fresh processes, and in each of them
WHOLE = ("+model=yolov3",)
CUT = ("+model=yolov3", "+partition=by_stage")
MASK = ("+model=mask_rcnn",)
POOL = "one pool, by hand"
WAYS = {  # words of the command line, spin, threads
    "YOLOv3 whole": [(WHOLE, "on", 2), (WHOLE, "off", 2)],
    "YOLOv3 cut in three": [(CUT, "on", 2), (CUT, "run", 2), (CUT, "off", 2), (CUT, POOL, 2)],
    "YOLOv3 whole, one thread": [(WHOLE, "on", 1)],
    "YOLOv3 cut in three, one thread": [(CUT, "run", 1)],
    "Mask R-CNN, three engines": [(MASK, "on", 2), (MASK, "run", 2), (MASK, "off", 2)],
}
BESIDE = {  # what a row is a multiple of
    "YOLOv3 whole": ("YOLOv3 whole", "on"),
    "YOLOv3 cut in three": ("YOLOv3 whole", "on"),
    "YOLOv3 whole, one thread": ("YOLOv3 whole, one thread", "on"),
    "YOLOv3 cut in three, one thread": ("YOLOv3 whole, one thread", "on"),
    "Mask R-CNN, three engines": ("Mask R-CNN, three engines", "on"),
}

Way = tuple[str, str]
Rows = Mapping[Way, Sequence[Sequence[float]]]


def main() -> None:
    """Measure and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        rows = in_rounds(dict(_ways(Path(folder))), SETS, ROUNDS)
    print("\n".join(table(rows)))


def _ways(folder: Path) -> Iterator[tuple[Way, list[str]]]:
    for name, asked in WAYS.items():
        for words, spin, threads in asked:
            asked = "off" if spin == POOL else spin
            bundle = folder / f"{len(words)}-{words[0][-4:]}-{asked}"
            if not bundle.exists():
                _deploy([*words, f"backend.options.spin={asked}", f"bundle={bundle}"])
            kind = "pool" if spin == POOL else "sample"
            yield (name, spin), [kind, str(bundle), str(threads)]


def _deploy(words: Sequence[str]) -> None:
    command = [sys.executable, "-m", "deploy", *words, "+backend=onnxruntime"]
    command += ["bench.runs=0", "verify.images=1"]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)


def table(rows: Rows) -> Iterator[str]:
    """Milliseconds of each way, and how they compare within each round."""
    yield "| chain | `spin` | ms | CPU ms | beside the first of its kind |"
    yield "|---|---|---|---|---|"
    for (name, spin), seconds in rows.items():
        wall, cpu = np.array(seconds).T
        beside = wall / np.array(rows[BESIDE[name]])[:, 0]
        yield (
            f"| {name} | {spin} | {spread(quartiles(wall), 1e3, 2)} "
            f"| {spread(quartiles(cpu), 1e3, 1)} | {spread(quartiles(beside), 1, 3)} |"
        )
