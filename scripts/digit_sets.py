"""Single digits cut out of scenes, and label maps of scenes: data to train and to judge on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from digit_scenes import Scene, make_scene
from PIL import Image

Pixels = npt.NDArray[np.uint8]

_MARGIN = 1.3  # side of a crop over the longer side of its digit
_CROPPED = (160, 1.5)  # height and width in pixels of the scenes that digits are cut out of, zoom
_LABELLED = (112, 1.8)  # of those with label maps
_LEAST = 12  # of both sides of a digit: smaller ones are not legible
_QUALITY = 90  # of JPEG


class Digit(NamedTuple):
    """A square picture (side, side, 3) of one digit, and which digit it is."""

    image: Pixels
    label: int


def digits(seeds: Iterable[int], held_out: bool) -> Iterator[Digit]:
    """The digits of scenes, each cut out with some of what is around it.

    Args:
        seeds: of the scenes.
        held_out: whose handwriting to use.
    """
    for seed in seeds:
        scene = _scene(seed, held_out, *_CROPPED)
        rng = np.random.default_rng([seed, int(held_out), 1])
        for box, label in zip(scene.boxes, scene.labels, strict=True):
            yield Digit(_crop(scene.image, box, rng), int(label))


def _crop(image: Pixels, box: npt.NDArray[np.float32], rng: np.random.Generator) -> Pixels:
    """A square around a box, its centre moved a little; beyond the border pixels repeat."""
    width, height = box[2:] - box[:2]
    side = round(max(width, height) * _MARGIN)
    moved = rng.uniform(-0.08, 0.08, 2) * side
    left, top = np.rint((box[:2] + box[2:]) / 2 + moved - side / 2).astype(int)
    rows = np.arange(top, top + side).clip(0, image.shape[0] - 1)
    columns = np.arange(left, left + side).clip(0, image.shape[1] - 1)
    return image[rows[:, None], columns]


def labelled_scene(seed: int, held_out: bool) -> tuple[Pixels, Pixels]:
    """A scene (112, 112, 3), and its labels (112, 112): 1 for the ink of digits, 0 elsewhere."""
    scene = _scene(seed, held_out, *_LABELLED)
    return scene.image, (scene.ink > 0).astype(np.uint8)


def _scene(seed: int, held_out: bool, side: int, zoom: float) -> Scene:
    return make_scene(seed, held_out, side, side, zoom=zoom)


def write_folders(folder: Path, each: int, seeds: Iterable[int]) -> None:
    """Write digits of held-out handwriting as FOLDER/<digit>/NUMBER.jpg.

    Args:
        folder: is made where it does not exist.
        each: how many of each digit.
        seeds: of scenes, as many as are needed.
    """
    counts = [0] * 10
    for image, label in digits(seeds, held_out=True):
        if counts[label] < each and len(image) >= _LEAST * _MARGIN:
            path = folder / str(label) / f"{counts[label]:03}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path, quality=_QUALITY, optimize=True)
            counts[label] += 1
        if min(counts) == each:
            return


def write_label_maps(folder: Path, seeds: Sequence[int]) -> None:
    """Write scenes of held-out handwriting as FOLDER/images/NAME.jpg and FOLDER/labels/NAME.png.

    Args:
        folder: is made where it does not exist.
        seeds: one for each scene.
    """
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        image, labels = labelled_scene(seed, held_out=True)
        picture = Image.fromarray(image)
        picture.save(folder / "images" / f"scene_{number:03}.jpg", quality=_QUALITY, optimize=True)
        Image.fromarray(labels).save(folder / "labels" / f"scene_{number:03}.png", optimize=True)
