#!/usr/bin/env python3
"""Run a sweep, and print its jobs as a table for the documentation.

    .venv/bin/python scripts/bench_sweep.py +model=yolov3 +backend=onnxruntime,ncnn verify.eval=true

The words are those of ``python -m deploy -m``. A row has what a job's report says: notes of the
engines, the error beside PyTorch, results that match, scores; and of the sweep's rounds the latency
and what may be believed of it. A column that no job has is left out. The exit code is that of the
sweep: 1 where a job failed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def main(words: list[str]) -> int:
    """Run and print."""
    with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
        command = [sys.executable, "-m", "deploy", "-m", *words, f"hydra.sweep.dir={folder}"]
        done = subprocess.run(command, stdout=sys.stderr, check=False)
        if done.returncode == 0:
            jobs = json.loads(Path(folder, "results.json").read_text())
            shared = set.intersection(*({*job["job"].split()} for job in jobs))
            print(table([cells(job, shared) for job in jobs]))
    return done.returncode


def cells(job: Mapping[str, Any], shared: set[str]) -> dict[str, str]:
    """What is told of a job, by the titles of the columns; words that all jobs have are not."""
    report = json.loads(Path(f"{job['bundle']}.work", "report.json").read_text())
    agreement, rounds = report["agreement"], (job["p50_low_ms"], job["p50_high_ms"])
    notes = [note.removeprefix("note").strip() for note in report["notes"] if note[:5] == "note "]
    found = {
        "job": ", ".join(f"`{word}`" for word in job["job"].split() if word not in shared),
        "engines": "; ".join(notes),
        "max_rel from PyTorch": "" if job["gap"] is None else f"{job['gap']:.1e}",
        "results": "",
    }
    if agreement:
        found["results"] = f"{agreement['matched']:,} of {agreement['total']:,} {agreement['noun']}"
    for score in report["scores"]:
        found |= {score["title"]: f"{score['chain']:.4f}"}
        found |= {f"{score['title']}, PyTorch": f"{score['reference']:.4f}"}
    if job["p50_ms"] is not None:
        found |= {"p50, ms": f"{job['p50_ms']:.2f}", "noisy": "yes" if job["noise"] else "no"}
        found |= {"rounds, ms": " to ".join(f"{p50:.2f}" for p50 in rounds)}
        found |= {"standing": job["standing"]}
    return found


def table(rows: list[dict[str, str]]) -> str:
    """The columns that some row fills."""
    titles = dict.fromkeys(title for row in rows for title, cell in row.items() if cell)
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    lines += [f"| {' | '.join(row.get(title, '') for title in titles)} |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
