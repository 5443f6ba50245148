"""``blame BUNDLE``: accuracy debugging of a bundle and its work folder."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from backends.acceptance import AcceptanceRule
from backends.codec import to_json
from backends.contract import Artifact, DeployError, MissingLibraryError, Tensors
from backends.files import write_text
from deploy.analysis.accuracy.measure import measure_steps
from deploy.analysis.accuracy.ranking import Ranking, rank_steps, segment_to_bisect
from deploy.analysis.accuracy.records import (
    Blame,
    BlameError,
    Probe,
    StepBlame,
    read_metrics,
    save_metrics,
)
from deploy.analysis.accuracy.run_files import RunFiles
from deploy.analysis.accuracy.text import probe_line, result_lines, summary_sentences
from deploy.recipe.schema import BackendRecipe
from deploy.report.data import DATA
from deploy.runtime.accuracy.step_errors import recorded_rule
from deploy.runtime.bundle.integrity import hash_file
from deploy.runtime.bundle.manifest import MANIFEST, Manifest, read_manifest
from deploy.runtime.pipeline import Pipeline

_TIMEOUT = 900.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Rank the steps; exit code 1 where a step or the chain does not pass the acceptance rule."""
    options = _parser().parse_intermixed_args(arguments)
    try:
        good = _debug(options)
    except (DeployError, OSError) as error:
        if "DEPLOY_TRACEBACK" in os.environ:
            raise
        sys.exit(f"error: {error}")
    sys.exit(0 if good else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.blame",
        description="Find the step of a bundle that makes it differ from the reference, and with "
        "--bisect the operator. Needs BUNDLE.work, which python -m deploy left beside it.",
        epilog="example: python -m deploy.blame bundles/yolov3-onnxruntime --bisect",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's folder")
    parser.add_argument(
        "--max-rel",
        type=float,
        help="tolerance of every relative error; by default that of each step's precision",
    )
    parser.add_argument(
        "--cosine", type=float, help="tolerance of every cosine similarity; by default likewise"
    )
    parser.add_argument(
        "--min-matched",
        type=float,
        metavar="SHARE",
        help="share of the detections that must match; by default that of the bundle's recipe",
    )
    parser.add_argument(
        "--saved", action="store_true", help="rank by what was measured last time; run nothing"
    )
    parser.add_argument("--json", metavar="FILE", help="write the result; - is standard output")
    parser.add_argument(
        "--bisect", action="store_true", help="search a segment for the first wrong operator"
    )
    parser.add_argument("--segment", help="to bisect; by default the one ranked first")
    parser.add_argument(
        "--reference", metavar="BACKEND", help="runs the segment in fp32; by default conf's"
    )
    parser.add_argument(
        "options", nargs="*", metavar="option=value", help="of the reference's backend"
    )
    parser.add_argument(
        "--timeout", type=float, default=_TIMEOUT, help="seconds for one conversion"
    )
    return parser


def _debug(options: argparse.Namespace) -> bool:
    _check_options(options)
    manifest = read_manifest(options.bundle)
    files, rule = RunFiles(options.bundle), _rule(options, manifest)
    if options.saved:
        blame = read_metrics(files.metrics, hash_file(options.bundle / MANIFEST).sha256)
    else:
        blame = _measure(options, manifest, files, rule)
        save_metrics(files.metrics, blame)
    ranking = rank_steps(blame, rule)
    if options.json != "-":
        print("\n".join(result_lines(blame, ranking, rule)))
    _update_report(files, blame, ranking, rule)
    if options.json is not None:
        write_text(options.json, json.dumps(_result_json(blame, ranking, rule), indent=2))
    return ranking.good


def _check_options(options: argparse.Namespace) -> None:
    if options.saved and options.bisect:
        raise BlameError("--saved runs nothing, and --bisect has to", do="Leave one of them out.")
    if options.options and options.reference is None:
        raise BlameError(
            "options of the reference without --reference", got=" ".join(options.options)
        )


def _rule(options: argparse.Namespace, manifest: Manifest) -> AcceptanceRule:
    rule = replace(recorded_rule(manifest), max_rel=options.max_rel, cosine=options.cosine)
    return rule if options.min_matched is None else replace(rule, min_matched=options.min_matched)


def _update_report(files: RunFiles, blame: Blame, ranking: Ranking, rule: AcceptanceRule) -> None:
    """Add the result to the run's report; where that fails, it is a warning."""
    if not (files.folder / DATA).is_file():
        return
    try:
        from deploy.analysis.accuracy.report_section import add_to_report

        page = add_to_report(files.folder, blame, ranking, rule)
    except (ImportError, DeployError, OSError) as error:
        print(f"warning: the report does not show this: {error}", file=sys.stderr)
        return
    if page is not None:
        print(f"the report shows it: {page}", file=sys.stderr)


def _measure(
    options: argparse.Namespace, manifest: Manifest, files: RunFiles, rule: AcceptanceRule
) -> Blame:
    values = files.reference_values(manifest)
    with Pipeline.of(options.bundle, manifest, trusted=True, choices={}) as pipeline:
        blame = measure_steps(options.bundle, pipeline, values)
    return (
        _with_bisection(options, files, manifest, values, blame, rule) if options.bisect else blame
    )


def _with_bisection(
    options: argparse.Namespace,
    files: RunFiles,
    manifest: Manifest,
    values: Tensors,
    blame: Blame,
    rule: AcceptanceRule,
) -> Blame:
    segment = _choose_segment(options.segment, rank_steps(blame, rule))
    tolerance = rule.tolerance(segment.precision)
    if all(map(tolerance.admits, segment.own)):
        raise BlameError(
            f"segment '{segment.name}' is within its tolerance ({tolerance}): there is nothing to "
            "bisect",
            do="Pass a smaller --max-rel, or another --segment.",
        )
    step = next(step for step in manifest.steps if step.name == segment.name)
    bisection = _load_bisect()(
        step,
        segment.own,
        files,
        values,
        _reference_engine(options),
        tolerance,
        options.timeout,
        _probe_printer(step),
    )
    return replace(blame, bisection=bisection)


def _choose_segment(name: str | None, ranking: Ranking) -> StepBlame:
    if name is None:
        return segment_to_bisect(ranking).step
    segments = {ranked.step.name: ranked.step for ranked in ranking.steps if ranked.step.backend}
    if name not in segments:
        raise BlameError("--segment", expected=f"one of {', '.join(segments)}", got=name)
    return segments[name]


def _load_bisect() -> Callable[..., Any]:
    try:
        from deploy.analysis.accuracy.bisect import bisect
    except ImportError as error:
        raise MissingLibraryError(
            f"--bisect cuts graphs, and cannot here: {error}",
            do="Run: pip install 'backend-chain[desk]'",
        ) from error
    return bisect


def _reference_engine(options: argparse.Namespace) -> BackendRecipe:
    """The backend that runs a segment in fp32: of the options, or of the configuration."""
    if options.reference is not None:
        pairs = (word.partition("=") for word in options.options)
        return BackendRecipe(options.reference, {key: value for key, _, value in pairs})
    try:
        from deploy.cli.compose import compose
    except ImportError as error:
        raise MissingLibraryError(
            f"the configuration cannot be read here: {error}", do="Pass --reference BACKEND."
        ) from error
    engine = compose(["+model=onnx", "model.file=none"]).precision.measure
    if engine is None:
        raise BlameError("the configuration names no backend", do="Pass --reference BACKEND.")
    return engine


def _probe_printer(step: Artifact) -> Callable[[Probe, int], None]:
    print(f"bisecting segment '{step.name}'", file=sys.stderr)
    numbers = count(1)
    return lambda probe, candidates: print(
        probe_line(next(numbers), probe, candidates), file=sys.stderr
    )


def _result_json(blame: Blame, ranking: Ranking, rule: AcceptanceRule) -> dict[str, Any]:
    return {
        "ranked": [ranked.step.name for ranked in ranking.steps],
        "bad": [ranked.step.name for ranked in ranking.steps if not ranked.good],
        "chain_good": ranking.chain_good,
        "verdict": summary_sentences(blame, ranking, rule),
        **to_json(blame),
    }
