"""The command eval: how well does the chain see what is in a data set, and how fast?"""

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
        "Run every picture of a data set. Print the scores of the task, such as mAP, accuracy or "
        "mean IoU, and the latency of every part of a call."
    )
    parser.epilog = "example: %(prog)s bundles/yolov3 coco/val2017.json --limit 500"
    add_bundle(parser)
    parser.add_argument(
        "dataset",
        type=Path,
        metavar="DATASET",
        help="detections: a COCO annotation file, its pictures beside it (needs pycocotools); "
        "classes: a folder with a folder of pictures for each; segmentation: a folder with "
        "images/NAME.jpg and labels/NAME.png",
    )
    parser.add_argument(
        "--limit",
        type=positive_integer,
        metavar="N",
        help="evaluate N of its pictures only (default: all)",
    )
    add_threads(parser)
    add_report(parser, "scores and latency")
    add_signature(parser)
    add_isolation(parser)


def run(arguments: argparse.Namespace) -> bool:
    """Evaluate, print, and write the report."""
    from backends.files import write_text
    from deploy.runtime.accuracy.evaluation import (
        evaluate_bundle,
        evaluation_report,
        score_table,
    )
    from deploy.runtime.latency import print_latency, summarize_latency

    titles, scores, seconds = evaluate_bundle(
        arguments.bundle,
        arguments.dataset,
        arguments.limit,
        arguments.threads,
        arguments.require_signature,
        arguments.isolate,
    )
    if arguments.json != "-":
        print("\n".join(score_table(titles, {"chain": scores})))
        print_latency(summarize_latency(seconds), len(seconds))
    if arguments.json is not None:
        report = evaluation_report(scores, seconds)
        write_text(arguments.json, json.dumps(report, indent=2))
    return True
