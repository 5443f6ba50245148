"""The command eval: how well does the chain detect what is in a data set, and how fast?"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from deploy.runtime.commands.arguments import (
    add_bundle,
    add_isolation,
    add_report,
    add_signature,
    add_threads,
    positive_integer,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        "Detect objects in every picture of a COCO data set. Print mAP of boxes and masks, and "
        "the latency of every part of a call. Needs pycocotools."
    )
    parser.epilog = "example: %(prog)s bundles/yolov3 coco/val2017.json --limit 500"
    add_bundle(parser)
    parser.add_argument(
        "dataset",
        type=Path,
        metavar="DATASET.json",
        help="a COCO annotation file; its pictures lie beside it",
    )
    parser.add_argument(
        "--limit",
        type=positive_integer,
        metavar="N",
        help="evaluate the first N pictures only (default: all)",
    )
    add_threads(parser)
    add_report(parser, "mAP and latency")
    add_signature(parser)
    add_isolation(parser)


def run(arguments: argparse.Namespace) -> bool:
    """Evaluate, print, and write the report."""
    from backends.files import write_text
    from deploy.runtime.accuracy.evaluation import (
        evaluate_bundle,
        evaluation_report,
        print_precision,
    )
    from deploy.runtime.latency import print_latency, summarize_latency

    scores, seconds = evaluate_bundle(
        arguments.bundle,
        arguments.dataset,
        arguments.limit,
        arguments.threads,
        arguments.require_signature,
        arguments.isolate,
    )
    if arguments.json != "-":
        print_precision(scores)
        print_latency(summarize_latency(seconds), len(seconds))
    if arguments.json is not None:
        report = evaluation_report(scores, seconds)
        write_text(arguments.json, json.dumps(report, indent=2))
    return True
