"""``run``: what is in these pictures?"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backends.contract import DeployError
from deploy.runtime.detections import Detections
from deploy.runtime.draw import draw
from deploy.runtime.image import ImageError, load_image
from deploy.runtime.output import write_text
from deploy.runtime.pipeline import Pipeline


def run(
    bundle: Path, images: Sequence[Path], report: str | None, out: Path | None, threads: int | None
) -> bool:
    """Print, write and draw the detections of each picture; false where one could not be read."""
    results: list[dict[str, Any]] = []
    with Pipeline.open(bundle, threads) as pipeline:
        _make_folder(out)
        for path in images:
            try:
                found = _one(pipeline, path, out, quiet=report == "-")
            except ImageError as error:
                print(f"error: {error}", file=sys.stderr)
                results.append({"image": str(path), "error": str(error)})
                continue
            results.append({"image": str(path), "detections": found.to_json(pipeline.classes)})
    if report is not None:
        write_text(report, json.dumps(results, indent=2))
    return all("error" not in result for result in results)


def _one(pipeline: Pipeline, path: Path, out: Path | None, *, quiet: bool) -> Detections:
    picture = load_image(path)
    found = pipeline(picture)
    if not quiet:
        _print(path, found, pipeline.classes)
    if out is not None:
        draw(picture, found, pipeline.classes).save(out / f"{path.stem}.png")
    return found


def _print(path: Path, found: Detections, classes: Sequence[str]) -> None:
    print(f"{path}: {len(found)} found")
    for row in found.to_json(classes):
        box = "  ".join(f"{edge:8.1f}" for edge in row["box"])
        print(f"  {row.get('class', row['label']):<16} {row['score']:.3f}  {box}")


def _make_folder(out: Path | None) -> None:
    if out is None:
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DeployError(f"--out '{out}' cannot be written: {error.strerror}") from error
