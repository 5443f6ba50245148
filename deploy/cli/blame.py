"""``blame BUNDLE``: accuracy debugging of a bundle and its work folder."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from backends.codec import to_json
from backends.contract import Artifact, DeployError, MissingLibraryError, Tensors, install_hint
from backends.files import write_text
from deploy.analysis.accuracy.measure import measure_steps
from deploy.analysis.accuracy.ranking import Bounds, Ranking, culprit, rank_steps
from deploy.analysis.accuracy.records import Blame, BlameError, StepBlame, read, save
from deploy.analysis.accuracy.text import probe_line, result_lines, verdict
from deploy.analysis.accuracy.work import Work
from deploy.recipe.schema import BackendRecipe
from deploy.report.data import DATA
from deploy.runtime.bundle.integrity import hash_file
from deploy.runtime.bundle.manifest import MANIFEST, Manifest, read_manifest
from deploy.runtime.pipeline import Pipeline

_TIMEOUT = 900.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the command."""
    parser.description = (
        "Say which step of a bundle makes it differ from the reference, and with --bisect which "
        "operator. Needs the folder BUNDLE.work, which the main job left beside the bundle."
    )
    parser.epilog = "example: %(prog)s bundles/mixed --bisect"
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder of the bundle")
    parser.add_argument("--max-rel", type=float, help="bound of every gap, not its precision's")
    parser.add_argument("--cosine", type=float, help="likewise")
    parser.add_argument("--min-matched", type=float, default=Bounds.min_matched, metavar="SHARE")
    parser.add_argument("--saved", action="store_true", help="judge what was measured earlier")
    parser.add_argument("--json", metavar="FILE", help="write the result; - is standard output")
    parser.add_argument("--bisect", action="store_true", help="go on to the first operator")
    parser.add_argument("--segment", help="to go on in; by default the most guilty")
    parser.add_argument(
        "--reference", metavar="BACKEND", help="that runs the segment in fp32; by default conf's"
    )
    parser.add_argument(
        "options", nargs="*", metavar="option=value", help="of the reference's backend"
    )
    parser.add_argument("--timeout", type=float, default=_TIMEOUT, help="of one conversion, in s")


def run(arguments: argparse.Namespace) -> bool:
    """Tell which step; False where something is beyond its bound."""
    asked = arguments
    _check(asked)
    bounds = Bounds(asked.max_rel, asked.cosine, asked.min_matched)
    manifest, work = read_manifest(asked.bundle), Work(asked.bundle)
    if asked.saved:
        blame = read(work.metrics, hash_file(asked.bundle / MANIFEST).sha256)
    else:
        blame = _measured(asked, manifest, work, bounds)
        save(work.metrics, blame)
    found = rank_steps(blame, bounds)
    if asked.json != "-":
        print("\n".join(result_lines(blame, found, bounds)))
    _report(work, blame, found, bounds)
    if asked.json is not None:
        write_text(asked.json, json.dumps(_as_json(blame, found, bounds), indent=2))
    return found.good


def _report(work: Work, blame: Blame, found: Ranking, bounds: Bounds) -> None:
    """Have the run's report show it; what was found stands without that too."""
    if not (work.folder / DATA).is_file():
        return
    try:
        from deploy.analysis.accuracy.page import add_blame

        page = add_blame(work.folder, blame, found, bounds)
    except (ImportError, DeployError, OSError) as error:
        print(f"warning: the report does not show this: {error}", file=sys.stderr)
        return
    if page is not None:
        print(f"the report shows it: {page}", file=sys.stderr)


def _check(asked: argparse.Namespace) -> None:
    if asked.saved and asked.bisect:
        raise BlameError("--saved runs nothing, and --bisect has to", do="Leave one of them out.")
    if asked.options and asked.reference is None:
        raise BlameError(
            "options of the reference without --reference", got=" ".join(asked.options)
        )


def _measured(asked: argparse.Namespace, manifest: Manifest, work: Work, bounds: Bounds) -> Blame:
    values = work.values(manifest)
    with Pipeline.of(asked.bundle, manifest, trusted=True, choices={}) as pipeline:
        blame = measure_steps(asked.bundle, pipeline, values)
    return _bisected(asked, work, manifest, values, blame, bounds) if asked.bisect else blame


def _bisected(
    asked: argparse.Namespace,
    work: Work,
    manifest: Manifest,
    values: Tensors,
    blame: Blame,
    bounds: Bounds,
) -> Blame:
    chosen = _segment(asked.segment, rank_steps(blame, bounds))
    step = next(one for one in manifest.steps if one.name == chosen.name)
    bound = bounds.of(chosen)
    if all(bound.admits(gap) for gap in chosen.own):
        raise BlameError(
            f"segment '{chosen.name}' is within its bound ({bound}): there is nothing to narrow "
            "down",
            do="Pass a smaller --max-rel, or another --segment.",
        )
    found = _search()(
        step, chosen.own, work, values, _engine(asked), bound, asked.timeout, _teller(step)
    )
    return replace(blame, bisection=found)


def _segment(name: str | None, found: Ranking) -> StepBlame:
    if name is None:
        return culprit(found).step
    engines = {one.step.name: one.step for one in found.steps if one.step.backend}
    if name not in engines:
        raise BlameError("--segment", expected=f"one of {', '.join(engines)}", got=name)
    return engines[name]


def _search() -> Callable[..., Any]:
    try:
        from deploy.analysis.accuracy.bisect import bisect
    except ImportError as error:
        raise MissingLibraryError(
            f"--bisect cuts graphs, and cannot here: {error}",
            do=install_hint("desk"),
        ) from error
    return bisect


def _engine(asked: argparse.Namespace) -> BackendRecipe:
    """What runs a segment in fp32: as asked, or as the configuration has it."""
    if asked.reference is not None:
        pairs = (word.partition("=") for word in asked.options)
        return BackendRecipe(asked.reference, {key: value for key, _, value in pairs})
    try:
        from deploy.cli.compose import compose
    except ImportError as error:
        raise MissingLibraryError(
            f"the configuration cannot be read here: {error}", do="Pass --reference BACKEND."
        ) from error
    measure = compose(["+model=onnx", "model.file=none"]).precision.measure
    if measure is None:
        raise BlameError("the configuration names no backend", do="Pass --reference BACKEND.")
    return measure


def _teller(step: Artifact) -> Callable[[Any, int], None]:
    print(f"looking into segment '{step.name}'", file=sys.stderr)
    count = iter(range(1, 1 << 30))
    return lambda probe, left: print(probe_line(next(count), probe, left), file=sys.stderr)


def _as_json(blame: Blame, found: Ranking, bounds: Bounds) -> dict[str, Any]:
    return {
        "ranked": [one.step.name for one in found.steps],
        "bad": [one.step.name for one in found.steps if not one.good],
        "chain_good": found.chain_good,
        "verdict": verdict(blame, found, bounds),
        **to_json(blame),
    }
