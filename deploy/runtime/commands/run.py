"""The command run: what is in these pictures?"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.acceptance import CONFIDENT
from deploy.runtime.commands.arguments import (
    add_bundle,
    add_isolation,
    add_report,
    add_signature,
    add_threads,
    score,
)

if TYPE_CHECKING:
    from backends.contract import Array
    from deploy.runtime.pipeline import Pipeline
    from deploy.runtime.results.result import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        "Detect objects in pictures and print a line for each: class, score, and the box as x1, "
        "y1, x2, y2 in pixels of the picture. A picture that cannot be read is reported, the "
        "others are done, and the exit code is 1."
    )
    parser.epilog = "example: %(prog)s bundles/yolov3 street.jpg --out drawings --json found.json"
    add_bundle(parser)
    parser.add_argument(
        "images", type=Path, nargs="+", metavar="IMAGE", help="a picture file, such as JPEG or PNG"
    )
    parser.add_argument(
        "--score",
        type=score,
        default=CONFIDENT,
        metavar="SCORE",
        help="print and draw detections from this score on (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="a folder for the pictures with detections drawn in"
    )
    add_threads(parser)
    add_report(parser, "all detections, of any score,")
    add_signature(parser)
    add_isolation(parser)


def run(arguments: argparse.Namespace) -> bool:
    """Detect, print, draw and write the report; false where a picture could not be read."""
    from backends.files import write_text
    from deploy.runtime.pipeline import Pipeline

    with Pipeline.open(
        arguments.bundle,
        arguments.threads,
        arguments.require_signature,
        isolate=arguments.isolate,
    ) as pipeline:
        _make_folder(arguments.out)
        results = [_detect(pipeline, path, arguments) for path in arguments.images]
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(results, indent=2))
    return all("error" not in result for result in results)


def _detect(pipeline: Pipeline, path: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The report's entry of one picture."""
    from backends.terminal import printable_name
    from deploy.runtime.vision.image import ImageError, load_image

    try:
        pixels = load_image(path)
    except ImageError as error:
        print(f"error: {error}", file=sys.stderr)
        return {"image": str(path), "error": str(error)}
    result = pipeline(pixels)
    shown = result.above(arguments.score)
    if arguments.json != "-":
        lines = shown.lines(pipeline.classes)
        print(
            f"{printable_name(str(path))}: {shown.summary(pipeline.classes)}",
            *(f"  {line}" for line in lines),
            sep="\n",
        )
    if arguments.out is not None:
        _draw(pixels, shown, pipeline.classes, arguments.out / f"{path.stem}.png")
    return {"image": str(path), result.noun: result.to_json(pipeline.classes)}


def _draw(pixels: Array, result: Result, classes: tuple[str, ...], target: Path) -> None:
    from backends.files import atomic_write

    with atomic_write(target) as part:
        result.draw(pixels, classes).save(part)


def _make_folder(folder: Path | None) -> None:
    from backends.contract import DeployError

    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DeployError(f"--out '{folder}' cannot be written: {error.strerror}") from error
