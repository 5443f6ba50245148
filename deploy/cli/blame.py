"""``blame BUNDLE``: accuracy debugging of a bundle and its work folder."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.runtime.commands.arguments import add_bundle

if TYPE_CHECKING:
    from deploy.analysis.accuracy.debugging import DebugOptions
    from deploy.analysis.accuracy.ranking import Ranking
    from deploy.recipe.schema import BackendRecipe

_TIMEOUT = 900.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        "Find the step of a bundle that makes it differ from the reference, and with --bisect "
        "the operator. Needs the folder BUNDLE.work, which the main job left beside the bundle."
    )
    parser.epilog = "example: %(prog)s bundles/mixed --bisect"
    add_bundle(parser)
    parser.add_argument(
        "--max-rel",
        type=float,
        metavar="NUMBER",
        help="largest relative error of a tensor (default: that of the step's precision)",
    )
    parser.add_argument(
        "--cosine",
        type=float,
        metavar="NUMBER",
        help="least cosine similarity of a tensor (default: that of the step's precision)",
    )
    parser.add_argument(
        "--min-matched",
        type=float,
        metavar="SHARE",
        help="least share of matched detections, from 0 to 1 (default: that of the recipe)",
    )
    parser.add_argument(
        "--saved", action="store_true", help="rank what was measured last time; run nothing"
    )
    parser.add_argument("--json", metavar="FILE", help="write the result; - is standard output")
    parser.add_argument(
        "--bisect", action="store_true", help="search a segment for the first wrong operator"
    )
    parser.add_argument(
        "--segment", metavar="NAME", help="the segment to bisect (default: the one ranked first)"
    )
    parser.add_argument(
        "--reference",
        metavar="BACKEND",
        help="runs the segment in fp32 (default: precision.measure of the configuration)",
    )
    parser.add_argument(
        "options", nargs="*", metavar="option=value", help="an option of the reference's backend"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=_TIMEOUT,
        metavar="SECONDS",
        help="longest time for one conversion (default: %(default)g)",
    )


def run(arguments: argparse.Namespace) -> bool:
    """Debug the bundle and print the result; true where everything passes the acceptance rule."""
    from backends.files import write_text
    from deploy.analysis.accuracy.debugging import debug_bundle
    from deploy.analysis.accuracy.text import result_json, result_lines

    ranking = debug_bundle(arguments.bundle, _debug_options(arguments))
    if arguments.json != "-":
        print("\n".join(result_lines(ranking)))
    _update_report(arguments.bundle, ranking)
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(result_json(ranking), indent=2))
    return ranking.good


def _debug_options(arguments: argparse.Namespace) -> DebugOptions:
    from deploy.analysis.accuracy.debugging import BisectionOptions, DebugOptions
    from deploy.analysis.accuracy.records import BlameError

    if arguments.saved and arguments.bisect:
        raise BlameError("--saved runs nothing, and --bisect has to", do="Leave one of them out.")
    if arguments.options and arguments.reference is None:
        raise BlameError(
            "options of the reference without --reference", got=" ".join(arguments.options)
        )
    bisection = None
    if arguments.bisect:
        engine = _reference_engine(arguments.reference, arguments.options)
        bisection = BisectionOptions(engine, arguments.segment, arguments.timeout)
    return DebugOptions(
        arguments.max_rel, arguments.cosine, arguments.min_matched, arguments.saved, bisection
    )


def _reference_engine(backend: str | None, options: Sequence[str]) -> BackendRecipe:
    """The backend that runs a segment in fp32: the given one, or that of the configuration."""
    from backends.contract import MissingLibraryError
    from deploy.analysis.accuracy.records import BlameError
    from deploy.recipe.schema import BackendRecipe

    if backend is not None:
        pairs = (word.partition("=") for word in options)
        return BackendRecipe(backend, {key: value for key, _, value in pairs})
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


def _update_report(bundle: Path, ranking: Ranking) -> None:
    """Add the result to the run's report; where that fails, it is a warning."""
    from backends.contract import DeployError
    from deploy.analysis.accuracy.run_files import RunFiles
    from deploy.recipe.output_paths import WorkFile

    work = RunFiles(bundle).folder
    if not (work / WorkFile.REPORT_DATA).is_file():
        return
    try:
        from deploy.analysis.accuracy.report_section import add_to_report

        page = add_to_report(work, ranking)
    except (ImportError, DeployError, OSError) as error:
        print(f"warning: the report does not show this: {error}", file=sys.stderr)
        return
    if page is not None:
        print(f"the report shows it: {page}", file=sys.stderr)
