"""``run``: what is in these pictures?"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backends.contract import DeployError
from backends.files import atomic_write, write_text
from deploy.runtime.pipeline import Pipeline
from deploy.runtime.vision.detections import Detections
from deploy.runtime.vision.draw import draw
from deploy.runtime.vision.image import ImageError, load_image


def run(
    bundle: Path,
    images: Sequence[Path],
    report: str | None,
    out: Path | None,
    score: float,
    threads: int | None,
    key: Path | None = None,
) -> bool:
    """Find what is in each picture; false where one could not be read.

    Args:
        bundle: the bundle.
        images: the pictures.
        report: a file for all detections as JSON, or ``-`` for standard output.
        out: a folder for drawings.
        score: what is printed and drawn has at least this score.
        threads: of the engines.
        key: a public key that must have signed the bundle.
    """
    results: list[dict[str, Any]] = []
    with Pipeline.open(bundle, threads, key) as pipeline:
        _make_folder(out)
        for path in images:
            try:
                picture = load_image(path)
            except ImageError as error:
                print(f"error: {error}", file=sys.stderr)
                results.append({"image": str(path), "error": str(error)})
                continue
            found = pipeline(picture)
            results.append({"image": str(path), "detections": found.to_json(pipeline.classes)})
            shown = found.above(score)
            if report != "-":
                _print(path, shown, pipeline.classes)
            if out is not None:
                with atomic_write(out / f"{path.stem}.png") as part:
                    draw(picture, shown, pipeline.classes).save(part)
    if report is not None:
        write_text(report, json.dumps(results, indent=2))
    return all("error" not in result for result in results)


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
