"""COCO annotations with masks for scenes whose boxes and pictures the first demo has written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from digit_scenes import make_scene
from pycocotools import mask


def write_masks(source: Path, seeds: Iterable[int], target: Path, folder: str = "") -> None:
    """Write a COCO file again with the masks of its digits.

    Args:
        source: what ``write_coco`` wrote for the same seeds.
        seeds: one for each scene.
        target: the file to write; its folder is made where it does not exist.
        folder: of the pictures, relative to the target's.
    """
    coco = json.loads(source.read_text())
    rows = iter(coco["annotations"])
    for picture, seed in zip(coco["images"], seeds, strict=True):
        picture["file_name"] = folder + picture["file_name"]
        scene = make_scene(seed, held_out=True)
        for number in range(len(scene.labels)):
            _add_mask(next(rows), scene.ink == number + 1)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(coco, separators=(",", ":")) + "\n")


def _add_mask(row: dict[str, Any], ink: npt.NDArray[np.bool_]) -> None:
    runs = mask.encode(np.asfortranarray(ink, np.uint8))
    row["segmentation"] = {"size": runs["size"], "counts": runs["counts"].decode("ascii")}
    row["area"] = int(ink.sum())
