"""Scenes of real handwritten digits, composed from scikit-learn's UCI digits.

Every scene is a pure function of its seed: a background with clutter, and up to a dozen digits at
many sizes, slants, stroke weights and colours. A digit's box is the tight box of its ink.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from digit_paper import Floats, Rng, background, clutter
from PIL import Image, ImageFilter
from sklearn.datasets import load_digits  # type: ignore[import-untyped]

TRAIN, HELD_OUT = slice(0, 1437), slice(1545, 1797)
"""Which images are for training, and which for judging.

The set is 14 filled-in forms, one after the other, as its labels show: they repeat the printed text
of the form. Held out are the last two. Training ends within the twelfth, whose rest is not used, so
that no form is on both sides.
"""

_GLYPH = 96  # pixels of an upsampled glyph, margin included
_INK = 0.4  # alpha from which a pixel counts as ink
_SIDE = 320  # pixels of the longer side that the heights of digits refer to
_SMALLEST, _LARGEST = 18, 160  # height of a digit in pixels
_TOUCH = 0.08  # how much of the smaller box two digits may share


@dataclass(frozen=True)
class Scene:
    """A picture (H, W, 3) uint8, boxes (n, 4) float32 as x1, y1, x2, y2, and labels (n,) int64.

    ``ink`` (H, W) uint8 tells whose ink a pixel shows: ``i + 1`` for digit ``i``, 0 for nobody's.
    """

    image: npt.NDArray[np.uint8]
    boxes: Floats
    labels: npt.NDArray[np.int64]
    ink: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Handwriting:
    """Glyphs (n, 96, 96) float32 from 0 to 1 and their labels (n,)."""

    glyphs: Floats
    labels: npt.NDArray[np.int64]


@cache
def handwriting(held_out: bool) -> Handwriting:
    """The handwriting to train on, or that of the held-out forms."""
    digits = load_digits()
    part = HELD_OUT if held_out else TRAIN
    glyphs = np.stack([_upsample(glyph) for glyph in digits.images[part]])
    return Handwriting(glyphs, digits.target[part].astype(np.int64))


def make_scene(
    seed: int,
    held_out: bool,
    height: int = _SIDE,
    width: int = _SIDE,
    grain: float = 10,
    zoom: float = 1,
) -> Scene:
    """The scene of this seed.

    Args:
        seed: the same seed and arguments give the same scene.
        held_out: whose handwriting to use.
        height: of the picture in pixels.
        width: of the picture in pixels; digits grow with the longer side.
        grain: the most noise that the camera adds, as a standard deviation in grey levels.
        zoom: factor on the height of digits.
    """
    rng = np.random.default_rng([seed, int(held_out)])
    canvas = background(rng, height, width)
    clutter(rng, canvas)
    pixels = np.asarray(canvas, dtype=np.float32)
    ink = np.zeros((height, width), np.uint8)
    boxes, labels = _place_digits(rng, pixels, ink, handwriting(held_out), zoom)
    image = _finish(rng, pixels, grain)
    edges = np.array(boxes, np.float32).reshape(-1, 4)
    return Scene(image, edges, np.array(labels, np.int64), ink)


def _upsample(glyph: npt.NDArray[np.float64]) -> Floats:
    padded = np.pad(glyph / 16, 2).astype(np.float32)
    big = Image.fromarray(padded).resize((_GLYPH, _GLYPH), Image.Resampling.BICUBIC)
    return np.asarray(big, dtype=np.float32)


def _place_digits(
    rng: Rng, pixels: Floats, ink: npt.NDArray[np.uint8], writing: Handwriting, zoom: float
) -> tuple[list[list[float]], list[int]]:
    boxes: list[list[float]] = []
    labels: list[int] = []
    crowd = rng.integers(1, 13)
    low, high = (zoom * height * max(pixels.shape) / _SIDE for height in (_SMALLEST, _LARGEST))
    typical = np.exp(rng.uniform(np.log(low), np.log(high)))  # pages have one hand
    for _ in range(crowd):
        spread = np.exp(rng.normal(0, 0.45))
        size = float(np.clip(typical * spread, low, min(high, *pixels.shape[:2])))
        pick = int(rng.integers(len(writing.labels)))
        alpha = written(rng, writing.glyphs[pick], size)
        box = _free_place(rng, alpha.shape, pixels.shape[:2], boxes)
        if box is not None:
            _paint(rng, pixels, alpha, box)
            boxes.append([float(edge) for edge in box])
            x1, y1, x2, y2 = box
            ink[y1:y2, x1:x2][alpha > _INK] = len(boxes)
            labels.append(int(writing.labels[pick]))
    return boxes, labels


def written(rng: Rng, glyph: Floats, height: float) -> Floats:
    """The ink (h, w) from 0 to 1 of a glyph at this height, cropped to its tight box."""
    angle, shear = rng.normal(0, 0.12), rng.normal(0, 0.15)
    aspect = np.exp(rng.normal(0, 0.12))
    scale = height / (_GLYPH * 8 / 12)  # the ink fills 8 of the glyph's 12 cells
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    forward = turn @ np.array([[aspect, shear], [0, 1]]) * scale
    side = int(np.ceil(_GLYPH * scale * 1.5)) + 2
    inverse = np.linalg.inv(forward)
    offset = _GLYPH / 2 - inverse @ np.full(2, side / 2)
    matrix = (*inverse[0], offset[0], *inverse[1], offset[1])
    # antialias: blur the source when it is drawn smaller than it is stored
    source = Image.fromarray(np.uint8(np.clip(glyph, 0, 1) * 255))
    if scale < 1:
        source = source.filter(ImageFilter.GaussianBlur(0.45 / scale))
    drawn = source.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    weight = rng.uniform(0.4, 0.6)
    edge = max(0.06, min(0.25, 1.2 / height * 2))
    ink = np.clip((np.asarray(drawn, np.float32) / 255 - weight) / edge + 0.5, 0, 1)
    return _cropped(ink.astype(np.float32, copy=False))


def _cropped(ink: Floats) -> Floats:
    rows, columns = (np.flatnonzero((ink > _INK).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return ink[:1, :1]
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _free_place(
    rng: Rng, size: tuple[int, ...], room: tuple[int, ...], boxes: list[list[float]]
) -> tuple[int, int, int, int] | None:
    """A box of this size that hardly touches the others, if a few tries find one."""
    height, width = size
    if height < 6 or height >= room[0] or width >= room[1]:
        return None
    for _ in range(12):
        x = int(rng.integers(0, room[1] - width))
        y = int(rng.integers(0, room[0] - height))
        box = (x, y, x + width, y + height)
        if all(_overlap(box, other) <= _TOUCH for other in boxes):
            return box
    return None


def _overlap(one: tuple[int, ...], other: list[float]) -> float:
    """The shared area over the smaller box's."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return max(width, 0) * max(height, 0) / min(areas)


def _paint(rng: Rng, pixels: Floats, alpha: Floats, box: tuple[int, int, int, int]) -> None:
    x1, y1, x2, y2 = box
    patch = pixels[y1:y2, x1:x2]
    behind = patch.mean(axis=(0, 1))
    ink = (alpha * rng.uniform(0.8, 1.0))[:, :, None]
    patch += ink * (_contrasting(rng, behind) - patch)


def _contrasting(rng: Rng, behind: Floats) -> Floats:
    """A colour that can be told from the background."""
    for _ in range(20):
        colour = rng.uniform(0, 255, 3).astype(np.float32)
        if rng.random() < 0.5:  # pens are mostly dark or white, not coloured
            colour = np.full(3, colour.mean() + rng.choice([-90, 90]), np.float32).clip(0, 255)
        if np.abs(colour - behind).mean() > 60:
            return colour
    return np.full(3, 0 if behind.mean() > 128 else 255, np.float32)


def _finish(rng: Rng, pixels: Floats, grain: float) -> npt.NDArray[np.uint8]:
    """The camera: noise, light and now and then some blur."""
    pixels = pixels * rng.uniform(0.75, 1.2) + rng.uniform(-20, 20)
    noise = rng.standard_normal(pixels.shape, dtype=np.float32)
    image = (pixels + noise * rng.uniform(0, grain)).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        blurred = Image.fromarray(image).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
        image = np.asarray(blurred)
    return image
