"""What the digits are written on: backgrounds, and clutter that is no digit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Floats = npt.NDArray[np.float32]
Rng = np.random.Generator


def background(rng: Rng, height: int, width: int) -> Image.Image:
    """A colour gradient with soft blotches, and sometimes ruled lines."""
    corners = rng.uniform(0, 255, (2, 2, 3))
    mean = corners.mean(axis=(0, 1))
    corners = mean + (corners - mean) * rng.uniform(0, 0.6)
    pixels = _stretched(corners, height, width)
    for cells in (4, 12, 40):
        blotches = rng.normal(0, rng.uniform(0, 22), (cells, cells, 1)).repeat(3, axis=2)
        pixels = pixels + _stretched(blotches, height, width)
    canvas = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if rng.random() < 0.35:
        _rule(rng, canvas)
    return canvas


def _stretched(values: npt.NDArray[np.float64], height: int, width: int) -> Floats:
    planes = [
        np.asarray(
            Image.fromarray(values[:, :, channel].astype(np.float32)).resize(
                (width, height), Image.Resampling.BICUBIC
            )
        )
        for channel in range(3)
    ]
    return np.stack(planes, axis=2)


def _rule(rng: Rng, canvas: Image.Image) -> None:
    """Lines or squares, as on writing paper."""
    draw = ImageDraw.Draw(canvas)
    gap, colour = int(rng.integers(14, 50)), _colour(rng)
    for y in range(int(rng.integers(gap)), canvas.height, gap):
        draw.line((0, y, canvas.width, y), colour)
    if rng.random() < 0.5:
        for x in range(int(rng.integers(gap)), canvas.width, gap):
            draw.line((x, 0, x, canvas.height), colour)


def clutter(rng: Rng, canvas: Image.Image) -> None:
    """Lines, shapes and scribbles that are no digits."""
    draw = ImageDraw.Draw(canvas)
    size = np.array([canvas.width, canvas.height])
    for _ in range(rng.integers(0, 7)):
        kind = rng.integers(4)
        corner = rng.uniform(0, 1, 2) * size
        extent = np.exp(rng.uniform(np.log(8), np.log(180), 2))
        box = (*corner, *(corner + extent))
        thick = int(rng.integers(1, 6))
        if kind == 0:
            draw.line((*corner, *(corner + rng.normal(0, 90, 2))), _colour(rng), thick)
        elif kind == 1:
            draw.rectangle(box, _colour(rng) if rng.random() < 0.5 else None, _colour(rng), thick)
        elif kind == 2:
            filled = extent.min() > 20  # a small ring would look like a zero
            draw.ellipse(box, _colour(rng) if filled else None, _colour(rng) if filled else None)
        else:
            _scribble(rng, draw, corner, float(extent.min()), thick)


def _scribble(
    rng: Rng, draw: ImageDraw.ImageDraw, start: npt.NDArray[np.float64], size: float, thick: int
) -> None:
    """A zigzag of many turns."""
    steps = rng.normal(0, size / 2, (int(rng.integers(6, 14)), 2))
    points = start + steps + np.arange(len(steps))[:, None] * [size / 3, 0]
    draw.line([tuple(point) for point in points.tolist()], _colour(rng), thick, joint="curve")


def _colour(rng: Rng) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return red, green, blue
