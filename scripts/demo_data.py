"""Pictures of held-out handwriting for people to try and for COCO's evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from digit_scenes import Scene, make_scene
from PIL import Image

FRESH = 1_000_000
"""The first seed of scenes that are made for one evaluation only."""

EVAL_SCENES = 128
_QUALITY = 85  # of JPEG
_LANDSCAPE, _PORTRAIT, _SQUARE, _SMALL = (480, 640), (640, 480), (320, 320), (360, 480)
_SAMPLES = (  # seed, and height and width in pixels; chosen to look good
    (2_000_212, _LANDSCAPE),
    (2_000_209, _PORTRAIT),
    (2_000_115, _SMALL),
    (2_000_310, _SQUARE),
    (2_000_224, _LANDSCAPE),
    (2_000_211, _SMALL),
    (2_000_229, _PORTRAIT),
    (2_000_220, _LANDSCAPE),
    (2_000_205, _PORTRAIT),
    (2_000_307, _SMALL),
    (2_000_226, _SQUARE),
    (2_000_216, _LANDSCAPE),
)


def write_samples(folder: Path) -> None:
    """Write the sample scenes as PNG, without noise, which PNG does not shrink."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (seed, (height, width)) in enumerate(_SAMPLES):
        scene = make_scene(seed, held_out=True, height=height, width=width, grain=0)
        Image.fromarray(scene.image).save(folder / f"scene_{number:02}.png", optimize=True)


def write_coco(folder: Path, seeds: Iterable[int]) -> Path:
    """Write scenes as JPEG beside a COCO annotation file, and return its path.

    Args:
        folder: is made where it does not exist.
        seeds: one for each scene.
    """
    folder.mkdir(parents=True, exist_ok=True)
    coco: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": digit, "name": str(digit)} for digit in range(10)],
    }
    for number, seed in enumerate(seeds, start=1):
        scene = make_scene(seed, held_out=True)
        name = f"scene_{number:03}.jpg"
        image = Image.fromarray(scene.image)
        image.save(folder / name, quality=_QUALITY, subsampling=0, optimize=True)
        coco["images"].append(
            {"id": number, "file_name": name, "height": image.height, "width": image.width}
        )
        coco["annotations"] += _annotations(scene, number, len(coco["annotations"]) + 1)
    path = folder / "annotations.json"
    path.write_text(json.dumps(coco, separators=(",", ":")) + "\n")
    return path


def _annotations(scene: Scene, image: int, first: int) -> list[dict[str, Any]]:
    """COCO's rows for one scene; a box is x, y, width, height in pixels."""
    digits = zip(scene.boxes.tolist(), scene.labels.tolist(), strict=True)
    return [
        {
            "id": number,
            "image_id": image,
            "category_id": label,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": 0,
        }
        for number, ((x1, y1, x2, y2), label) in enumerate(digits, start=first)
    ]
