"""``eval``: how well does the chain find what is in a data set, and how fast?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from backends.files import write_text
from deploy.runtime.accuracy.coco import Dataset, MeanPrecision, Row, Scores
from deploy.runtime.bundle.manifest import BundleError
from deploy.runtime.latency import (
    Finder,
    Seconds,
    print_latency,
    summarize_latency,
    timed_detections,
)
from deploy.runtime.pipeline import Pipeline

_WARMUP = 3


def evaluate(
    bundle: Path,
    dataset: Path,
    limit: int | None,
    report: str | None,
    threads: int | None,
    key: Path | None = None,
) -> bool:
    """Find what is in every picture; print mAP, and p50, p90, p99 and mean of every part.

    Args:
        bundle: the bundle.
        dataset: a COCO annotation file, its pictures beside it.
        limit: how many of its pictures count; by default all.
        report: a file for the same as JSON, or ``-`` for standard output.
        threads: of the engines.
        key: a public key that must have signed the bundle.

    Raises:
        DatasetError: no COCO file, or one of other classes.
        BundleError: the bundle finds nothing in pictures.
        MissingLibraryError: pycocotools is not installed.
        ImageError: a picture is missing, or none.
    """
    data = Dataset(dataset, limit)
    with Pipeline.open(bundle, threads, key) as pipeline:
        _check_finds(bundle, pipeline)
        data.check_classes(pipeline.classes)
        rows, seconds = measure(pipeline, data)
    scores, figures = data.scores(rows), summarize_latency(seconds)
    if report != "-":
        _print(scores)
        print_latency(figures, len(seconds))
    if report is not None:
        write_text(report, json.dumps(as_json(scores, seconds), indent=2))
    return True


def measure(finder: Finder, data: Dataset) -> tuple[list[Row], list[Seconds]]:
    """What is found in every picture, and the seconds of every part; a few pictures warm it up."""
    rows: list[Row] = []
    seconds: list[Seconds] = []
    paths = list(data.pictures.values())
    for path in paths[:_WARMUP]:
        timed_detections(finder, path)
    for picture, path in data.pictures.items():
        found, spent = timed_detections(finder, path)
        rows += data.rows(picture, found)
        seconds.append(spent)
    return rows, seconds


def _check_finds(bundle: Path, pipeline: Pipeline) -> None:
    if pipeline.post is None or pipeline.manifest.pre is None:
        raise BundleError(
            f"bundle '{bundle}' cannot be evaluated",
            expected="one that takes pictures and ends in a host step that finds things in them",
            got="one of tensors",
        )


def _print(scores: Scores) -> None:
    print(f"{'':<16}{'mAP@0.5':>14}{'mAP@0.5:0.95':>14}")
    for kind, found in _kinds(scores).items():
        print(f"{kind:<16}{found.at_50:14.4f}{found.at_50_95:14.4f}")


def _kinds(scores: Scores) -> dict[str, MeanPrecision]:
    masks = {"masks": scores.masks} if scores.masks is not None else {}
    return {"boxes": scores.boxes, **masks}


def as_json(scores: Scores, seconds: list[Seconds]) -> dict[str, Any]:
    """The figures of an evaluation."""
    figures = summarize_latency(seconds)
    return {
        "pictures": len(seconds),
        **{kind: asdict(found) for kind, found in _kinds(scores).items()},
        "per_second": 1e3 / figures["total"]["mean"],
        "milliseconds": figures,
    }
