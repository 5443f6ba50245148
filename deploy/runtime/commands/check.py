"""The command check: does a bundle, on this device, still agree with its reference?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.runtime.commands.arguments import (
    add_bundle,
    add_isolation,
    add_signature,
    add_threads,
)

if TYPE_CHECKING:
    from deploy.runtime.bundle.manifest import StepMetrics
    from deploy.runtime.pipeline import Isolation, Pipeline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        "Run the bundle's own sample through the chain, and compare its outputs, and its "
        "detections where it has some, with those of the PyTorch model that the bundle carries."
    )
    parser.epilog = "example: %(prog)s bundles/yolov3"
    add_bundle(parser)
    add_threads(parser)
    add_signature(parser)
    add_isolation(parser)


def run(arguments: argparse.Namespace) -> bool:
    """Compare and print; false where the chain does not agree."""
    return check(
        arguments.bundle, arguments.threads, arguments.require_signature, arguments.isolate
    )


def check(
    bundle: Path, threads: int | None, key: Path | None = None, isolate: Isolation = "auto"
) -> bool:
    """Replay the sample and print its distance from the reference; true where they agree."""
    from deploy.runtime.accuracy.sample_check import check_result, sample_errors
    from deploy.runtime.accuracy.step_errors import NOTHING_COMPARED
    from deploy.runtime.bundle.sample import sample_picture
    from deploy.runtime.pipeline import Pipeline

    with Pipeline.open(bundle, threads, key, isolate=isolate) as pipeline:
        errors = sample_errors(bundle, pipeline)
        if not errors and sample_picture(bundle, pipeline.manifest) is None:
            print(f"note: {NOTHING_COMPARED}")
        for note in pipeline.chain.notes():
            print(f"    {note}")
        return _check_tensors(pipeline, errors) & check_result(bundle, pipeline)


def _check_tensors(pipeline: Pipeline, errors: Sequence[StepMetrics]) -> bool:
    from deploy.runtime.accuracy.step_errors import tolerances

    allowed = tolerances(pipeline.manifest)
    for item in errors:
        metrics = item.gap
        print(
            f"{'ok' if allowed.admit(item) else 'BAD':<4}{metrics.tensor:<16}"
            f"max_abs {metrics.max_abs:.2e}  max_rel {metrics.max_rel:.2e}  "
            f"cosine {metrics.cosine:.6f}"
        )
    bounds = {str(allowed.of(item)): item.gap.tensor for item in reversed(errors)}
    for bound, tensor in reversed(bounds.items()):
        print(f"    tolerance: {bound}{f' at {tensor}' if len(bounds) > 1 else ''}")
    return all(map(allowed.admit, errors))
