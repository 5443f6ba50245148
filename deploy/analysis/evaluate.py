"""A bundle and the model that it was made of, evaluated side by side: scores and latency."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends.contract import EngineError
from backends.files import temporary_folder
from backends.process.child import module_command
from deploy.export.source import source_of
from deploy.recipe.schema import Recipe, RecipeError
from deploy.runtime.accuracy.evaluation import (
    evaluation_report,
    required_dataset_class,
    score_table,
    score_titles,
    timed_evaluation,
)
from deploy.runtime.bundle.manifest import Manifest, read_manifest
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
        dataset: a COCO annotation file, or a folder; by default the model's own.
        limit: how many of its pictures count; by default all.

    Returns:
        The name of the reference, and the figures of ``chain`` and ``model``.

    Raises:
        RecipeError: there is no data set.
        DatasetError: it is no data set, or has other classes.
        BundleError: there are no data sets for what the bundle gives.
        EngineError: the bundle does not run.
    """
    path = dataset or _own_dataset(recipe)
    for post in recipe.model.post:
        if post.target is not None:
            register_target(post.target, post.id)
    manifest = read_manifest(bundle)
    data = required_dataset_class(bundle, manifest)(path, manifest.classes, limit)
    chain = _chain_report(bundle, path, limit)
    around = Pipeline.without_engines(manifest)
    with temporary_folder() as scratch:
        reference = source_of(recipe).reference(points, scratch)
        measured = timed_evaluation(ReferencePipeline(around, reference), data)
    return reference.name, {"chain": chain, "model": evaluation_report(*measured)}


def _own_dataset(recipe: Recipe) -> Path:
    if recipe.model.eval is None:
        raise RecipeError(
            "no data set",
            expected="DATASET, since the model has none of its own",
            got="nothing",
            do="Pass a COCO annotation file whose pictures lie beside it, or a folder.",
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


def print_side_by_side(manifest: Manifest, reports: Mapping[str, Report]) -> None:
    """Print the scores in one table, then the latency of each.

    Args:
        manifest: of the bundle.
        reports: by the name of the model.
    """
    scores = {name: report["scores"] for name, report in reports.items()}
    print("\n".join(score_table(score_titles(manifest), scores)))
    for name, report in reports.items():
        print(f"\n{name}")
        print_latency(report["milliseconds"], report["pictures"])
