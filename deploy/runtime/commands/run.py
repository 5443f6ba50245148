"""The command run: what is in these pictures, or what comes out for these tensors?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.acceptance import CONFIDENT
from deploy.runtime.commands.arguments import (
    add_bundle,
    add_isolation,
    add_report,
    add_signature,
    add_threads,
    positive_integer,
    score,
)

if TYPE_CHECKING:
    from backends.contract import Tensors
    from deploy.runtime.commands.drawings import Drawings
    from deploy.runtime.commands.json_rows import AddRow
    from deploy.runtime.commands.streamed import Failure, Outcome
    from deploy.runtime.inputs.reading import Input
    from deploy.runtime.inputs.sources import Kind, Source, Sources, Wanted
    from deploy.runtime.pipeline import Pipeline
    from deploy.runtime.results.result import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        "Detect objects in pictures and print a line for each: class, score, and the box as x1, "
        "y1, x2, y2 in pixels of the picture. A picture that cannot be read is reported, the "
        "others are done, and the exit code is 1. Of a bundle that takes text or tensors, print "
        "what comes out."
    )
    parser.epilog = "example: %(prog)s bundles/yolov3 photos --out drawings --json found.json"
    add_bundle(parser)
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="a picture file, such as JPEG or PNG; a folder of pictures; a quoted pattern such as "
        "'photos/*.jpg'; a video file; camera:0; - for a picture on standard input; or an .npz "
        "file or a folder of them for a bundle that takes tensors; or a .txt file with a text in "
        "each line, or - for such lines on standard input, for a bundle that takes text",
    )
    parser.add_argument(
        "--text",
        action="append",
        default=[],
        metavar="TEXT",
        help="a text, for a bundle that takes text; may be given several times",
    )
    parser.add_argument(
        "--score",
        type=score,
        default=CONFIDENT,
        metavar="SCORE",
        help="print and draw detections from this score on (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="a folder for the pictures and videos with detections drawn in, or for the outputs "
        "as .npz; of one video also a file .mp4 or .mkv",
    )
    parser.add_argument("--recursive", action="store_true", help="take the folders in a folder too")
    parser.add_argument(
        "--every",
        type=positive_integer,
        default=1,
        metavar="N",
        help="of videos and cameras take each N-th frame (default: %(default)s)",
    )
    parser.add_argument(
        "--limit", type=positive_integer, metavar="N", help="end after N pictures or frames"
    )
    add_threads(parser)
    add_report(parser, "all detections, of any score,")
    parser.add_argument(
        "--jsonl",
        metavar="FILE",
        help="write the same as one line of JSON for each picture or frame, as soon as it is done",
    )
    add_signature(parser)
    add_isolation(parser)


def run(arguments: argparse.Namespace) -> bool:
    """Run, print, draw and write the report; false where something could not be read."""
    from deploy.runtime.commands.json_rows import json_array, json_lines
    from deploy.runtime.commands.run_tensors import run_tensors
    from deploy.runtime.inputs.sources import InputError, find_sources
    from deploy.runtime.pipeline import Pipeline

    if not arguments.inputs and not arguments.text:
        raise InputError("inputs", expected="one INPUT or more, or --text TEXT", got="none")
    with Pipeline.open(
        arguments.bundle,
        arguments.threads,
        arguments.require_signature,
        isolate=arguments.isolate,
    ) as pipeline:
        wanted = _wanted(pipeline)
        if arguments.text:
            _check_takes(pipeline, "text", "--text")
        sources = find_sources(arguments.inputs, arguments.recursive, wanted, arguments.out)
        _check_kinds(pipeline, sources)
        for note in sources.notes:
            print(f"note: {note}", file=sys.stderr)
        run_all = _run_pictures if wanted == "picture" else run_tensors
        with json_array(arguments.json) as add_row, json_lines(arguments.jsonl) as add_line:

            def report(row: Mapping[str, Any]) -> None:
                add_row(row)
                add_line(row)

            return run_all(pipeline, sources.found, arguments, report)


def _wanted(pipeline: Pipeline) -> Wanted:
    """What the bundle takes, as a folder is searched for it."""
    if pipeline.manifest.pre is not None:
        return "picture"
    return "tensors" if pipeline.manifest.text is None else "texts"


_TAKEN: Mapping[Wanted, tuple[Kind, ...]] = {
    "picture": ("picture", "standard input", "video", "camera"),
    "tensors": ("tensors",),
    "texts": ("tensors", "texts", "standard input", "text"),
}
_INSTEAD: Mapping[Wanted, str] = {
    "picture": "In Python, pipeline({...}) takes tensors.",
    "tensors": "Give an .npz file with arrays of these names.",
    "texts": "Pass --text TEXT, or a .txt file with a text in each line.",
}


def _check_kinds(pipeline: Pipeline, sources: Sources) -> None:
    """Refuse what the bundle does not take, before anything is run."""
    from deploy.runtime.inputs.video import import_av

    for source in sources.found:
        got = "a picture on standard input" if source.name == "-" else f"'{source.name}'"
        _check_takes(pipeline, source.kind, got)
        if source.kind in ("video", "camera"):
            import_av("videos and cameras")


def _check_takes(pipeline: Pipeline, kind: Kind, got: str) -> None:
    from deploy.runtime.inputs.sources import InputError

    wanted = _wanted(pipeline)
    if kind not in _TAKEN[wanted]:
        specs = ", ".join(f"'{spec.name}' {spec}" for spec in pipeline.manifest.caller_inputs)
        expected = {
            "picture": "pictures",
            "tensors": f"tensors: {specs}",
            "texts": f"a text, or tensors: {specs}",
        }
        raise InputError(
            f"bundle of '{pipeline.manifest.model}'",
            expected=expected[wanted],
            got=got,
            do="" if wanted == "picture" and kind != "tensors" else _INSTEAD[wanted],
        )


def _run_pictures(
    pipeline: Pipeline, sources: list[Source], arguments: argparse.Namespace, add_row: AddRow
) -> bool:
    """Detect in every picture and frame; false where one could not be read."""
    from deploy.runtime.commands.drawings import Drawings
    from deploy.runtime.commands.output_folder import OutputFolder
    from deploy.runtime.commands.streamed import Progress, streamed

    progress = Progress()
    drawings = None
    if arguments.out is not None:
        drawings = Drawings(OutputFolder(arguments.out, sources))
    with drawings or nullcontext():
        outcomes = streamed(pipeline, sources, arguments.every, arguments.limit)
        for outcome in progress.counted(outcomes):
            add_row(_row(pipeline, outcome, drawings, arguments))
    if line := progress.line():
        if _is_quiet(arguments):
            print(line, file=sys.stderr)
        else:
            print(line)
    return progress.failed == 0


def _is_quiet(arguments: argparse.Namespace) -> bool:
    """Whether standard output is for JSON."""
    return "-" in (arguments.json, arguments.jsonl)


def _row(
    pipeline: Pipeline,
    outcome: Outcome | Failure,
    drawings: Drawings | None,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """The report's entry of one picture, after printing and drawing it."""
    from deploy.runtime.commands.streamed import Failure
    from deploy.runtime.results.result import Result

    if isinstance(outcome, Failure):
        print(f"error: {outcome.error}", file=sys.stderr)
        return {"image": outcome.source.name, "error": str(outcome.error)}
    if isinstance(outcome.result, Result):
        return _result(outcome, outcome.result, pipeline.classes, drawings, arguments)
    return _outputs(outcome, outcome.result, arguments)


def _result(
    outcome: Outcome,
    result: Result,
    classes: tuple[str, ...],
    drawings: Drawings | None,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    from deploy.runtime.commands.run_tensors import result_lines
    from deploy.runtime.vision.image import load_image

    shown = result.above(arguments.score)
    if not _is_quiet(arguments):
        print(*result_lines(str(outcome.item), shown, classes), sep="\n")
    row = _origin(outcome.item)
    if drawings is not None:
        drawn = shown.draw(load_image(outcome.item.picture), classes)
        row["drawing"] = str(drawings.add(outcome.item, drawn))
    return {**row, result.noun: result.to_json(classes)}


def _outputs(outcome: Outcome, outputs: Tensors, arguments: argparse.Namespace) -> dict[str, Any]:
    from deploy.runtime.commands.run_tensors import summaries, summary_lines

    if not _is_quiet(arguments):
        print(*summary_lines(str(outcome.item), outputs), sep="\n")
    return {**_origin(outcome.item), "outputs": summaries(outputs)}


def _origin(item: Input) -> dict[str, Any]:
    row: dict[str, Any] = {"image": item.source.name}
    if item.frame is not None:
        row |= {"frame": item.frame.number, "seconds": round(item.frame.seconds, 6)}
    return row
