"""``python -m deploy.evaluate BUNDLE``: how well does a chain see, and how fast, beside PyTorch?"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.contract import DeployError, EngineError
from backends.files import write_text
from deploy.cli.compose import from_plain
from deploy.export.source import source_of
from deploy.pipeline.build_record import read_build_record
from deploy.recipe.schema import Recipe, RecipeError
from deploy.runtime.accuracy.coco import Dataset
from deploy.runtime.bundle.manifest import read_manifest
from deploy.runtime.evaluation import detect_dataset, evaluation_report
from deploy.runtime.latency import print_latency
from deploy.runtime.pipeline import Pipeline
from deploy.verify import ReferencePipeline

Report = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate both and print them side by side."""
    asked = _parser().parse_args(arguments)
    try:
        _evaluate(asked)
    except (DeployError, OSError) as error:
        if "DEPLOY_TRACEBACK" in os.environ:
            raise
        sys.exit(f"error: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.evaluate",
        description="COCO mAP, latency and throughput of a bundle beside those of its model. "
        "Needs BUNDLE.work, which python -m deploy left beside it.",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument(
        "dataset", type=Path, nargs="?", metavar="DATASET.json", help="by default model.eval"
    )
    parser.add_argument("--limit", type=int, help="only so many of its pictures")
    parser.add_argument(
        "--trust", action="store_true", help="run the code that BUNDLE.work names, whoever wrote it"
    )
    parser.add_argument("--json", metavar="FILE", help="write the result; - is standard output")
    return parser


def _evaluate(asked: argparse.Namespace) -> None:
    given, points = read_build_record(asked.bundle, asked.trust)
    recipe = from_plain(given)
    dataset = asked.dataset or _own(recipe)
    chain = _chain_report(asked.bundle, dataset, asked.limit)
    name, model = _model_report(asked.bundle, recipe, points, Dataset(dataset, asked.limit))
    if asked.json != "-":
        _print({"chain": chain, name: model})
    if asked.json is not None:
        write_text(asked.json, json.dumps({"chain": chain, "model": model}, indent=2))


def _own(recipe: Recipe) -> Path:
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
    command = [sys.executable, "-m", "deploy.runtime", "eval", str(bundle), str(dataset)]
    limited = ["--limit", str(limit)] if limit else []
    done = subprocess.run([*command, *limited, "--json", "-"], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise EngineError(f"the bundle cannot be evaluated: {' '.join(command)} failed")
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


def _print(reports: Mapping[str, Report]) -> None:
    kinds = [kind for kind in ("boxes", "masks") if kind in reports["chain"]]
    print(f"{'':<16}" + "".join(f"{name:>12}" for name in reports))
    for kind in kinds:
        for key, title in (("at_50", "mAP@0.5"), ("at_50_95", "mAP@.5:.95")):
            values = "".join(f"{report[kind][key]:12.4f}" for report in reports.values())
            print(f"{f'{kind} {title}':<16}{values}")
    for name, report in reports.items():
        print(f"\n{name}")
        print_latency(report["milliseconds"], report["pictures"])


if __name__ == "__main__":
    main()
