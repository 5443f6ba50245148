"""Data sets small enough to be evaluated in a test."""

from __future__ import annotations

import json
import os
from pathlib import Path

import deploy

DIGITS = Path(deploy.__file__).parent / "models" / "yolov3" / "demo" / "eval" / "annotations.json"


def first_pictures(folder: Path, count: int, dataset: Path = DIGITS) -> Path:
    """A COCO annotation file in ``folder`` of the first pictures of a data set."""
    content = json.loads(dataset.read_text())
    images = content["images"][:count]
    kept = {image["id"] for image in images}
    for image in images:
        image["file_name"] = os.path.relpath(dataset.parent / image["file_name"], folder)
    content["images"] = images
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in kept]
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return path
