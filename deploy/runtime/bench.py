"""``bench``: where does the time go?"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from deploy.runtime.choices import Choices, engine_of
from deploy.runtime.detections import Detections
from deploy.runtime.image import Picture, decode
from deploy.runtime.manifest import Manifest
from deploy.runtime.output import write_text
from deploy.runtime.pipeline import Pipeline
from deploy.runtime.sample import read_sample, sample_picture

Seconds = Mapping[str, float]
Figures = dict[str, float]


def bench(
    bundle: Path,
    runs: int,
    warmup: int,
    image: Path | None,
    report: str | None,
    threads: int | None,
    key: Path | None = None,
    as_made: bool = False,
) -> bool:
    """Measure and print p50, p90, p99 and mean of every part, in milliseconds.

    A bundle that takes pictures is measured from the picture file to the detections; any other
    from sample tensors to tensors.
    """
    choices: Choices | None = {} if as_made and threads is None else None
    with Pipeline.open(bundle, threads, key, choices=choices) as pipeline:
        once = once_of(bundle, pipeline, image)
        for _ in range(warmup):
            once()
        rows = [once() for _ in range(runs)]
    figures = summary(rows)
    if report != "-":
        if pipeline.manifest.alternatives:
            print(engines_line(pipeline.manifest))
        print_figures(figures, runs)
    if report is not None:
        write_text(report, json.dumps(figures, indent=2))
    return True


def engines_line(manifest: Manifest) -> str:
    """What each step runs on."""
    return "; ".join(f"{step.name} on {engine_of(step)}" for step in manifest.steps)


def summary(rows: Sequence[Seconds]) -> dict[str, Figures]:
    """Milliseconds of each part over all rows: p50, p90, p99 and mean."""
    return {part: _figures([row[part] * 1e3 for row in rows]) for part in rows[0]}


def _figures(values: Sequence[float]) -> Figures:
    p50, p90, p99 = (float(value) for value in np.percentile(values, [50, 90, 99]))
    return {"p50": p50, "p90": p90, "p99": p99, "mean": float(np.mean(values))}


def once_of(bundle: Path, pipeline: Pipeline, image: Path | None) -> Callable[[], Seconds]:
    """What measures one call, from a picture file or from the sample's tensors on."""
    picture = image or sample_picture(bundle, pipeline.manifest)
    if pipeline.post is not None and picture is not None:
        return lambda: find_timed(pipeline, picture)[1]
    inputs = read_sample(bundle, pipeline.manifest).inputs

    def tensors_to_tensors() -> Seconds:
        steps: dict[str, float] = {}
        start = time.perf_counter()
        pipeline.chain.timed(inputs, steps)
        total = time.perf_counter() - start
        return {**steps, "chain": total - sum(steps.values()), "total": total}

    return tensors_to_tensors


class Finder(Protocol):
    """What finds things in a decoded picture, such as a pipeline."""

    def timed(self, picture: Picture, seconds: dict[str, float], /) -> Detections:
        """What is in the picture, and the seconds of each part and in ``total``."""
        ...


def find_timed(finder: Finder, path: Path) -> tuple[Detections, Seconds]:
    """What is in a picture file, and the seconds of decoding, pre, each step, chain and post."""
    start = time.perf_counter()
    picture = decode(path)
    decoded = time.perf_counter() - start
    parts: dict[str, float] = {}
    found = finder.timed(picture, parts)
    return found, {"decode": decoded, **parts, "total": decoded + parts["total"]}


def print_figures(figures: Mapping[str, Figures], runs: int) -> None:
    """Print a table of what ``summary`` gives."""
    print(f"{'ms':<16}" + "".join(f"{name:>9}" for name in ("p50", "p90", "p99", "mean")))
    for part, values in figures.items():
        print(f"{part:<16}" + "".join(f"{value:9.3f}" for value in values.values()))
    print(f"{1e3 / figures['total']['mean']:.1f} per second over {runs} runs")
