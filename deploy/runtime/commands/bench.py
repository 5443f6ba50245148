"""``bench``: where does the time go?"""

from __future__ import annotations

import json
from pathlib import Path

from backends.files import write_text
from deploy.runtime.bundle.engine_choice import Choices
from deploy.runtime.latency import describe_engines, print_latency, summarize_latency, timed_call
from deploy.runtime.pipeline import Pipeline


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
        once = timed_call(bundle, pipeline, image)
        for _ in range(warmup):
            once()
        rows = [once() for _ in range(runs)]
    figures = summarize_latency(rows)
    if report != "-":
        if pipeline.manifest.alternatives:
            print(describe_engines(pipeline.manifest))
        print_latency(figures, runs)
    if report is not None:
        write_text(report, json.dumps(figures, indent=2))
    return True
