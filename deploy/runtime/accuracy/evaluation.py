"""A chain on a COCO data set: detections of every picture, mAP, and the latency of every part."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from deploy.runtime.accuracy.coco import Dataset, MeanPrecision, Row, Scores
from deploy.runtime.bundle.manifest import BundleError, PostStep
from deploy.runtime.execution.post_steps import result_class
from deploy.runtime.latency import Detector, Seconds, summarize_latency, timed_result
from deploy.runtime.pipeline import Isolation, Pipeline
from deploy.runtime.results.detections import Detections

_WARMUP = 3  # pictures


def evaluate_bundle(
    bundle: Path,
    annotations: Path,
    limit: int | None = None,
    threads: int | None = None,
    key: Path | None = None,
    isolate: Isolation = "auto",
) -> tuple[Scores, list[Seconds]]:
    """Evaluate a bundle on a COCO data set.

    Args:
        bundle: the bundle.
        annotations: a COCO annotation file, its pictures beside it.
        limit: how many of its pictures count; by default all.
        threads: of the engines; see ``Pipeline.open``.
        key: a public key that must have signed the bundle.
        isolate: as of ``Pipeline.open``.

    Returns:
        The mAP, and for each picture the seconds of every part of its call.

    Raises:
        DatasetError: no COCO file, or one of other classes.
        BundleError: the bundle detects nothing in pictures.
        MissingLibraryError: pycocotools is not installed.
        ImageError: a picture is missing or damaged.
    """
    dataset = Dataset(annotations, limit)
    with Pipeline.open(bundle, threads, key, isolate=isolate) as pipeline:
        _check_detects(bundle, pipeline)
        dataset.check_classes(pipeline.classes)
        rows, seconds = detect_dataset(pipeline, dataset)
    return dataset.scores(rows), seconds


def detect_dataset(detector: Detector, dataset: Dataset) -> tuple[list[Row], list[Seconds]]:
    """Detect objects in every picture, after a few pictures as warm-up.

    Returns:
        The detections as COCO result rows, and for each picture the seconds of every part.
    """
    rows: list[Row] = []
    seconds: list[Seconds] = []
    for path in list(dataset.pictures.values())[:_WARMUP]:
        timed_result(detector, path)
    for picture, path in dataset.pictures.items():
        result, parts = timed_result(detector, path)
        rows += dataset.rows(picture, result)
        seconds.append(parts)
    return rows, seconds


def evaluation_report(scores: Scores, seconds: list[Seconds]) -> dict[str, Any]:
    """The figures of an evaluation, as they are written to JSON."""
    latency = summarize_latency(seconds)
    return {
        "pictures": len(seconds),
        **{kind: asdict(precision) for kind, precision in _by_kind(scores).items()},
        "per_second": 1e3 / latency["total"]["mean"],
        "milliseconds": latency,
    }


def print_precision(scores: Scores) -> None:
    """Print a table of mAP, a line for boxes and one for masks."""
    print(f"{'':<16}{'mAP@0.5':>14}{'mAP@0.5:0.95':>14}")
    for kind, precision in _by_kind(scores).items():
        print(f"{kind:<16}{precision.at_50:14.4f}{precision.at_50_95:14.4f}")


def _by_kind(scores: Scores) -> dict[str, MeanPrecision]:
    masks = {"masks": scores.masks} if scores.masks is not None else {}
    return {"boxes": scores.boxes, **masks}


def _check_detects(bundle: Path, pipeline: Pipeline) -> None:
    post = pipeline.manifest.post
    if post is None or pipeline.manifest.pre is None or not _detects(post):
        raise BundleError(
            f"bundle '{bundle}' cannot be evaluated",
            expected="one that takes pictures and ends in a host step that detects objects in them",
            got=f"one with {result_class(post.id).noun}" if post else "one of tensors",
        )


def _detects(post: PostStep) -> bool:
    return issubclass(result_class(post.id), Detections)
