"""The latency of every part of a call."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from deploy.runtime.bundle.engine_choice import engine_name
from deploy.runtime.bundle.manifest import Manifest
from deploy.runtime.bundle.sample import read_sample, sample_picture
from deploy.runtime.pipeline import Pipeline
from deploy.runtime.results.result import Result
from deploy.runtime.vision.image import Decoded, Picture


@dataclass(frozen=True)
class PartLatency:
    """Milliseconds of one part of a call: a step's, or what is around the steps.

    ``min`` is missing in reports of earlier versions.
    """

    name: str
    p50: float
    p90: float
    p99: float
    mean: float
    min: float | None = None


Seconds = Mapping[str, float]
"""By part of a call: ``decode``, ``pre``, each step, ``chain``, ``post``, ``total``."""

Milliseconds = Mapping[str, float]
"""By part of a call."""

Figures = dict[str, float]
"""Milliseconds: ``min``, ``p50``, ``p90``, ``p99`` and ``mean``."""


def describe_engines(manifest: Manifest) -> str:
    """The engine of each step, in a line."""
    return "; ".join(f"{step.name} on {engine_name(step)}" for step in manifest.steps)


def summarize_latency(rows: Sequence[Seconds]) -> dict[str, Figures]:
    """Milliseconds of each part over all rows: min, p50, p90, p99 and mean."""
    return {part: _figures([row[part] * 1e3 for row in rows]) for part in rows[0]}


def _figures(values: Sequence[float]) -> Figures:
    p50, p90, p99 = (float(value) for value in np.percentile(values, [50, 90, 99]))
    mean = float(np.mean(values))
    return {"min": float(min(values)), "p50": p50, "p90": p90, "p99": p99, "mean": mean}


def timed_call(bundle: Path, pipeline: Pipeline, image: Path | None) -> Callable[[], Seconds]:
    """A function that measures one call.

    Args:
        bundle: the bundle.
        pipeline: its pipeline, open.
        image: a picture file; by default the bundle's own. A bundle without post-processing or
            picture is measured from the sample's tensors to the outputs, or to the results of a
            bundle that takes tensors.
    """
    picture = image or sample_picture(bundle, pipeline.manifest)
    if pipeline.post is not None and picture is not None:
        return lambda: timed_result(pipeline, picture)[1]
    inputs = read_sample(bundle, pipeline.manifest).inputs

    def tensors_to_tensors() -> Seconds:
        steps: dict[str, float] = {}
        start = time.perf_counter()
        outputs = pipeline.chain.timed(inputs, steps)
        ran = time.perf_counter()
        parts = {**steps, "chain": ran - start - sum(steps.values())}
        if pipeline.post is None or pipeline.manifest.pre is not None:
            return {**parts, "total": ran - start}
        pipeline.finish_batch(outputs)
        end = time.perf_counter()
        return {**parts, "post": end - ran, "total": end - start}

    return tensors_to_tensors


class Detector(Protocol):
    """Gives a result for a decoded picture, as a pipeline does."""

    def decode(self, picture: Picture, /) -> Decoded:
        """The picture in RGB."""
        ...

    def timed(self, picture: Picture, seconds: dict[str, float], /) -> Result:
        """Run, and put the seconds of each part and the ``total`` into ``seconds``."""
        ...


def timed_result(detector: Detector, path: Path) -> tuple[Result, Seconds]:
    """The result for a picture file, and the seconds of decoding and of every other part."""
    start = time.perf_counter()
    picture = detector.decode(path)
    decoded = time.perf_counter() - start
    parts: dict[str, float] = {}
    result = detector.timed(picture, parts)
    return result, {"decode": decoded, **parts, "total": decoded + parts["total"]}


def print_latency(figures: Mapping[str, Figures], runs: int) -> None:
    """Print a table of what ``summarize_latency`` returned."""
    print(f"{'ms':<16}" + "".join(f"{name:>9}" for name in figures["total"]))
    for part, values in figures.items():
        print(f"{part:<16}" + "".join(f"{value:9.3f}" for value in values.values()))
    print(f"{1e3 / figures['total']['mean']:.1f} per second over {runs} runs")
