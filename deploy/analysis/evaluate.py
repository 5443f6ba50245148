"""A bundle and the model that it was made of, evaluated side by side: mAP and latency."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends.contract import EngineError
from backends.process.child import module_command
from deploy.export.source import source_of
from deploy.recipe.schema import Recipe, RecipeError
from deploy.runtime.accuracy.coco import Dataset
from deploy.runtime.accuracy.evaluation import detect_dataset, evaluation_report
from deploy.runtime.bundle.manifest import read_manifest
from deploy.runtime.execution.own_posts import register_target, word_for_command
from deploy.runtime.latency import print_latency
from deploy.runtime.pipeline import Pipeline
from deploy.verify import ReferencePipeline

Report = dict[str, Any]


def evaluate(
    bundle: Path,
    recipe: Recipe,
    points: Mapping[str, str],
    dataset: Path | None,
    limit: int | None,
) -> tuple[str, dict[str, Report]]:
    """Evaluate the bundle in a process of its own, and its model here.

    Args:
        bundle: the bundle.
        recipe: that it was made with.
        points: the point of each tensor of its chain.
        dataset: a COCO annotation file; by default the model's own.
        limit: how many of its pictures count; by default all.

    Returns:
        The name of the reference, and the figures of ``chain`` and ``model``.

    Raises:
        RecipeError: there is no data set.
        DatasetError: it is no COCO file, or has other classes.
        EngineError: the bundle does not run.
    """
    annotations = dataset or _own_dataset(recipe)
    for post in recipe.model.post:
        if post.target is not None:
            register_target(post.target, post.id)
    chain = _chain_report(bundle, annotations, limit)
    name, model = _model_report(bundle, recipe, points, Dataset(annotations, limit))
    return name, {"chain": chain, "model": model}


def _own_dataset(recipe: Recipe) -> Path:
    if recipe.model.eval is None:
        raise RecipeError(
            "no data set",
            expected="DATASET.json, since the model has none of its own",
            got="nothing",
            do="Pass a COCO annotation file whose pictures lie beside it.",
        )
    return Path(recipe.model.eval)


def _chain_report(bundle: Path, dataset: Path, limit: int | None) -> Report:
    """What the device's own command says, in a process where no other engine has threads."""
    limited = ["--limit", str(limit)] if limit else []
    command = module_command("deploy.runtime", "eval", str(bundle), str(dataset), *limited)
    if own_post := word_for_command(read_manifest(bundle).post):
        command += ["--post", own_post]
    done = subprocess.run([*command, "--json", "-"], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise EngineError(
            "the bundle cannot be evaluated: "
            f"python -m deploy.runtime eval {bundle} {dataset} failed"
        )
    report: Report = json.loads(done.stdout)
    return report


def _model_report(
    bundle: Path, recipe: Recipe, points: Mapping[str, str], data: Dataset
) -> tuple[str, Report]:
    around = Pipeline.without_engines(read_manifest(bundle))
    with tempfile.TemporaryDirectory() as scratch:
        reference = source_of(recipe).reference(points, Path(scratch))
        rows, seconds = detect_dataset(ReferencePipeline(around, reference), data)
    return reference.name, evaluation_report(data.scores(rows), seconds)


def print_side_by_side(reports: Mapping[str, Report]) -> None:
    """Print the scores in one table, then the latency of each."""
    kinds = [kind for kind in ("boxes", "masks") if kind in reports["chain"]]
    print(f"{'':<16}" + "".join(f"{name:>12}" for name in reports))
    for kind in kinds:
        for key, title in (("at_50", "mAP@0.5"), ("at_50_95", "mAP@.5:.95")):
            values = "".join(f"{report[kind][key]:12.4f}" for report in reports.values())
            print(f"{f'{kind} {title}':<16}{values}")
    for name, report in reports.items():
        print(f"\n{name}")
        print_latency(report["milliseconds"], report["pictures"])
