"""A model on a data set: how well its results meet the truth, and the latency of every part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.runtime.accuracy.coco import CocoDataset
from deploy.runtime.accuracy.dataset import Dataset, Detect, Scores
from deploy.runtime.bundle.manifest import BundleError, Manifest
from deploy.runtime.execution.post_steps import result_class
from deploy.runtime.execution.registered import shipped_table
from deploy.runtime.latency import Detector, Seconds, summarize_latency, timed_result
from deploy.runtime.pipeline import Isolation, Pipeline
from deploy.runtime.results.detections import Detections
from deploy.runtime.results.result import Result

_WARMUP = 3  # pictures
_REFERENCE = "torch_"  # before the name of the reference's score in a manifest


@dataclass(frozen=True)
class NotedScore:
    """A score of a chain and of its reference, as a manifest notes them.

    Attributes:
        name: in the manifest.
        title: for people.
        chain: from 0 to 1.
        reference: from 0 to 1.
    """

    name: str
    title: str
    chain: float
    reference: float


def dataset_class(kind: type[Result]) -> type[Dataset] | None:
    """The class of data sets that judge results of this class, or None."""
    known = {Detections: CocoDataset, **shipped_table("dataset", "DATASETS")}
    return next((known[base] for base in kind.__mro__ if base in known), None)


def score_titles(manifest: Manifest) -> Mapping[str, str]:
    """The title of each score that a bundle can get, by its name; empty where it gets none."""
    judging = dataset_class(result_class(manifest.post.id)) if manifest.post is not None else None
    return judging.titles if judging is not None else {}


def score_notes(chain: Scores, reference: Scores) -> dict[str, float]:
    """What a manifest notes of two evaluations.

    Examples:
        >>> score_notes({"map": 0.5}, {"map": 0.75})
        {'map': 0.5, 'torch_map': 0.75}
    """
    return {**chain, **{f"{_REFERENCE}{name}": score for name, score in reference.items()}}


def noted_scores(manifest: Manifest) -> tuple[NotedScore, ...]:
    """The scores of the chain and of the reference, the most important one first."""
    notes = manifest.verification.notes
    has_scores = any(name.startswith(_REFERENCE) for name in notes)
    titles = score_titles(manifest) if has_scores else {}  # it loads all kinds of data sets
    return tuple(
        NotedScore(name, title, notes[name], notes[f"{_REFERENCE}{name}"])
        for name, title in titles.items()
        if name in notes and f"{_REFERENCE}{name}" in notes
    )


def evaluate(dataset: Dataset, detect: Detect) -> Scores:
    """The scores of a model on a data set.

    Args:
        dataset: the pictures and the truth.
        detect: a picture's path to its result in the picture's own pixels.

    Raises:
        DatasetError: the results do not fit the truth.
        ImageError: a picture is missing or damaged.
    """
    return dataset.summarise(
        [
            judgement
            for number, path in dataset.pictures.items()
            for judgement in dataset.judge(number, detect(path))
        ]
    )


def evaluate_bundle(
    bundle: Path,
    path: Path,
    limit: int | None = None,
    threads: int | None = None,
    key: Path | None = None,
    isolate: Isolation = "auto",
) -> tuple[Mapping[str, str], Scores, list[Seconds]]:
    """Evaluate a bundle on a data set.

    Args:
        bundle: the bundle.
        path: the data set: a COCO annotation file, or a folder, as the bundle's results need it.
        limit: how many of its pictures count; by default all.
        threads: of the engines; see ``Pipeline.open``.
        key: a public key that must have signed the bundle.
        isolate: as of ``Pipeline.open``.

    Returns:
        The title of each score, the scores, and for each picture the seconds of every part of its
        call.

    Raises:
        DatasetError: no data set, or one of other classes.
        BundleError: there are no data sets for what the bundle gives.
        MissingLibraryError: pycocotools is needed, and is not installed.
        ImageError: a picture is missing or damaged.
    """
    with Pipeline.open(bundle, threads, key, isolate=isolate) as pipeline:
        judging = required_dataset_class(bundle, pipeline.manifest)
        dataset = judging(path, pipeline.classes, limit)
        scores, seconds = timed_evaluation(pipeline, dataset)
    return dataset.titles, scores, seconds


def timed_evaluation(detector: Detector, dataset: Dataset) -> tuple[Scores, list[Seconds]]:
    """Evaluate a model, after a few pictures as warm-up.

    Returns:
        The scores, and for each picture the seconds of every part.
    """
    seconds: list[Seconds] = []
    for path in list(dataset.pictures.values())[:_WARMUP]:
        timed_result(detector, path)

    def detect(path: Path) -> Result:
        result, parts = timed_result(detector, path)
        seconds.append(parts)
        return result

    return evaluate(dataset, detect), seconds


def evaluation_report(scores: Scores, seconds: list[Seconds]) -> dict[str, Any]:
    """The figures of an evaluation, as they are written to JSON."""
    latency = summarize_latency(seconds)
    return {
        "pictures": len(seconds),
        "scores": dict(scores),
        "per_second": 1e3 / latency["total"]["mean"],
        "milliseconds": latency,
    }


def score_table(titles: Mapping[str, str], models: Mapping[str, Scores]) -> list[str]:
    r"""Lines for people: a row for each score, a column for each model.

    Args:
        titles: of the scores, by their names.
        models: the scores of each model, by its name.

    Examples:
        >>> print("\n".join(score_table({"top_1": "top-1"}, {"chain": {"top_1": 0.5}})))
                                       chain
        top-1                         0.5000
    """
    names = [name for name in titles if all(name in scores for scores in models.values())]
    rows: list[tuple[str, Sequence[str]]] = [("", list(models))]
    rows += [
        (titles[name], [f"{scores[name]:.4f}" for scores in models.values()]) for name in names
    ]
    return [f"{title:<22}" + "".join(f"{cell:>14}" for cell in cells) for title, cells in rows]


def required_dataset_class(bundle: Path, manifest: Manifest) -> type[Dataset]:
    """The class of data sets that judge what a bundle gives.

    Args:
        bundle: its folder, for the error.
        manifest: its manifest.

    Raises:
        BundleError: there are none.
    """
    kind = result_class(manifest.post.id) if manifest.post is not None else None
    judging = dataset_class(kind) if kind is not None else None
    if judging is None or manifest.pre is None:
        raise BundleError(
            f"bundle '{bundle}' cannot be evaluated",
            expected="one that takes pictures and ends in a host step whose results have data sets",
            got=f"one with {kind.noun}" if kind else "one of tensors",
        )
    return judging
