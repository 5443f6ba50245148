"""Accuracy debugging of a bundle: measure its steps, rank them, bisect a segment."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from backends.acceptance import AcceptanceRule
from backends.contract import MissingLibraryError, Tensors, install_hint
from backends.error_metrics import worst
from deploy.analysis.accuracy.measure import measure_steps
from deploy.analysis.accuracy.ranking import (
    Ranking,
    beyond_tolerance,
    rank_steps,
    segment_to_bisect,
)
from deploy.analysis.accuracy.records import (
    Bisection,
    BlameError,
    Probe,
    StepBlame,
    read_metrics,
    save_metrics,
)
from deploy.analysis.accuracy.run_files import RunFiles
from deploy.analysis.accuracy.text import probe_line
from deploy.recipe.schema import BackendRecipe
from deploy.runtime.accuracy.step_errors import recorded_rule
from deploy.runtime.bundle.integrity import hash_file
from deploy.runtime.bundle.manifest import MANIFEST, Manifest, read_manifest
from deploy.runtime.pipeline import Pipeline


@dataclass(frozen=True)
class BisectionOptions:
    """How a segment is bisected.

    Attributes:
        reference: the backend that runs the segment in fp32.
        segment: the segment; by default the one ranked first.
        timeout: seconds for one conversion.
    """

    reference: BackendRecipe
    segment: str | None
    timeout: float


@dataclass(frozen=True)
class DebugOptions:
    """How a bundle is debugged.

    Attributes:
        max_rel: in the place of the tolerances of the precisions, see ``AcceptanceRule``.
        cosine: likewise.
        min_matched: in the place of the share that the bundle was verified by.
        saved: whether to rank what was measured last time, and run nothing.
        bisection: how to bisect a segment, or None to bisect none.
    """

    max_rel: float | None = None
    cosine: float | None = None
    min_matched: float | None = None
    saved: bool = False
    bisection: BisectionOptions | None = None


def debug_bundle(bundle: Path, options: DebugOptions) -> Ranking:
    """Find the steps that make a bundle differ from the reference.

    What is measured is written to ``blame.json`` in the bundle's work folder; the progress of a
    bisection is printed to standard error.

    Args:
        bundle: the bundle's folder; its work folder is beside it.
        options: how.

    Raises:
        BundleError: it is no bundle, or its sample was changed.
        BlameError: the work folder or the saved metrics do not fit; or there is nothing to bisect.
        ConversionError: the reference's backend cannot run the segment.
    """
    manifest = read_manifest(bundle)
    files, rule = RunFiles(bundle), effective_rule(options, manifest)
    if options.saved:
        blame = read_metrics(files.metrics, hash_file(bundle / MANIFEST).sha256)
        return rank_steps(blame, rule)
    values = files.reference_values(manifest)
    with Pipeline.of(bundle, manifest, trusted=True, choices={}) as pipeline:
        blame = measure_steps(bundle, pipeline, values)
    if options.bisection is not None:
        bisection = _bisect(options.bisection, manifest, files, values, rank_steps(blame, rule))
        blame = replace(blame, bisection=bisection)
    save_metrics(files.metrics, blame)
    return rank_steps(blame, rule)


def effective_rule(options: DebugOptions, manifest: Manifest) -> AcceptanceRule:
    """The rule that the bundle was verified by, with what the options put in its place."""
    rule = recorded_rule(manifest)
    if options.max_rel is not None:
        own = {name: replace(bounds, max_rel=None) for name, bounds in rule.tensors.items()}
        rule = replace(rule, max_rel=options.max_rel, tensors=own)
    if options.cosine is not None:
        own = {name: replace(bounds, cosine=None) for name, bounds in rule.tensors.items()}
        rule = replace(rule, cosine=options.cosine, tensors=own)
    return rule if options.min_matched is None else replace(rule, min_matched=options.min_matched)


def _bisect(
    options: BisectionOptions,
    manifest: Manifest,
    files: RunFiles,
    values: Tensors,
    ranking: Ranking,
) -> Bisection:
    segment = _select_segment(options.segment, ranking)
    beyond = beyond_tolerance(segment, ranking.rule)
    wrong = worst(beyond).tensor if beyond else ""
    tolerance = ranking.rule.tolerance(segment.precision, wrong)
    if not beyond:
        raise BlameError(
            f"segment '{segment.name}' is within its tolerance ({tolerance}): there is nothing to "
            "bisect",
            do="Pass a smaller --max-rel, or another --segment.",
        )
    step = next(step for step in manifest.steps if step.name == segment.name)
    bisection: Bisection = _import_bisect()(
        step,
        segment.own,
        files,
        values,
        options.reference,
        tolerance,
        options.timeout,
        _probe_printer(step.name),
    )
    return bisection


def _select_segment(name: str | None, ranking: Ranking) -> StepBlame:
    if name is None:
        return segment_to_bisect(ranking).step
    segments = {ranked.step.name: ranked.step for ranked in ranking.steps if ranked.step.backend}
    if name not in segments:
        raise BlameError("--segment", expected=f"one of {', '.join(segments)}", got=name)
    return segments[name]


def _import_bisect() -> Callable[..., Any]:
    try:
        from deploy.analysis.accuracy.bisect import bisect
    except ImportError as error:
        raise MissingLibraryError(
            f"--bisect cuts graphs, and cannot here: {error}",
            do=install_hint("desk"),
        ) from error
    return bisect


def _probe_printer(segment: str) -> Callable[[Probe, int], None]:
    print(f"bisecting segment '{segment}'", file=sys.stderr)
    numbers = count(1)
    return lambda probe, candidates: print(
        probe_line(next(numbers), probe, candidates), file=sys.stderr
    )
