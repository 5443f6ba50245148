"""The command bench: how long does a call take, and each of its parts?"""

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

_RUNS, _WARMUP = 100, 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        "Measure min, p50, p90, p99 and mean of every part of a call, in milliseconds. A bundle "
        "that takes pictures is measured from the picture file to the detections, any other from "
        "the sample's tensors to the outputs."
    )
    parser.epilog = "example: %(prog)s bundles/yolov3 --runs 200 --threads 2"
    add_bundle(parser)
    for option, default, text in (
        ("--runs", _RUNS, "calls that are measured"),
        ("--warmup", _WARMUP, "calls before them that are not"),
    ):
        parser.add_argument(
            option,
            type=positive_integer,
            default=default,
            metavar="N",
            help=f"{text} (default: %(default)s)",
        )
    parser.add_argument(
        "--image",
        type=Path,
        metavar="IMAGE",
        help="a picture to measure with (default: the bundle's sample)",
    )
    parser.add_argument(
        "--as-made",
        action="store_true",
        help="ignore what tune has kept here: each step on the engine and with the threads that "
        "the bundle records",
    )
    add_threads(parser)
    add_report(parser, "the latencies")
    add_signature(parser)
    add_isolation(parser)


def run(arguments: argparse.Namespace) -> bool:
    """Measure, print, and write the report."""
    from backends.files import write_text
    from deploy.runtime.benchmark.ranking import describe_noise
    from deploy.runtime.latency import (
        describe_engines,
        print_latency,
        summarize_latency,
        timed_call,
    )
    from deploy.runtime.pipeline import Pipeline
    from deploy.runtime.vision.compiled_later import compiled_first

    with (
        compiled_first(),
        Pipeline.open(
            arguments.bundle,
            arguments.threads,
            arguments.require_signature,
            choices={} if arguments.as_made and arguments.threads is None else None,
            isolate=arguments.isolate,
        ) as pipeline,
    ):
        call = timed_call(arguments.bundle, pipeline, arguments.image)
        for _ in range(arguments.warmup):
            call()
        calls = [call() for _ in range(arguments.runs)]
    latencies = summarize_latency(calls)
    if arguments.json != "-":
        if pipeline.manifest.alternatives:
            print(describe_engines(pipeline.manifest))
        print_latency(latencies, arguments.runs)
        if disagreement := describe_noise([row["total"] * 1e3 for row in calls]):
            print(disagreement)
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(latencies, indent=2))
    return True
