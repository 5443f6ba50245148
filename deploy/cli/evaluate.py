"""``evaluate BUNDLE``: scores and latency of a bundle beside those of its model."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from deploy.runtime.commands.arguments import add_report, positive_integer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the command."""
    parser.description = (
        "Scores on a data set, latency and throughput of a bundle beside those of its model. Needs "
        "the folder BUNDLE.work, which the main job left beside the bundle."
    )
    parser.epilog = "example: %(prog)s bundles/yolov3-cpu --limit 16"
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder of the bundle")
    parser.add_argument(
        "dataset",
        type=Path,
        nargs="?",
        metavar="DATASET",
        help="COCO annotations with the pictures beside them, or a folder, as the task needs it "
        "(default: model.eval of the recipe)",
    )
    parser.add_argument(
        "--limit", type=positive_integer, metavar="N", help="evaluate N pictures alone"
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="run the code that BUNDLE.work names, although another user or machine wrote it",
    )
    add_report(parser, "the figures")


def run(arguments: argparse.Namespace) -> bool:
    """Evaluate both and print them side by side.

    Raises:
        RecipeError: BUNDLE.work is missing or not trusted, or there is no data set.
        DeployError: the data set, the bundle or the model cannot be used.
    """
    from deploy.pipeline.build_record import read_build_record

    plain_recipe, points = read_build_record(arguments.bundle, arguments.trust)
    # torch takes longer to import than anything above takes to be refused
    from backends.files import write_text
    from deploy.analysis.evaluate import evaluate, print_side_by_side
    from deploy.cli.compose import from_plain
    from deploy.runtime.bundle.manifest import read_manifest

    name, reports = evaluate(
        arguments.bundle, from_plain(plain_recipe), points, arguments.dataset, arguments.limit
    )
    if arguments.json != "-":
        manifest = read_manifest(arguments.bundle)
        print_side_by_side(manifest, {"chain": reports["chain"], name: reports["model"]})
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(reports, indent=2))
    return True
