"""Detections drawn onto their picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from backends.contract import Array
from deploy.runtime.vision.detections import Detections

Colour = tuple[int, int, int]


_GOLDEN = 0.618034  # neighbouring labels get hues far apart


def draw(picture: Array, detections: Detections, classes: Sequence[str]) -> Image.Image:
    """The picture (H, W, 3) uint8, RGB, with mask, box, class and score of each detection.

    The best detections are drawn last, on top.
    """
    canvas = Image.fromarray(_tinted(picture, detections))
    pen = ImageDraw.Draw(canvas)
    scale = max(1.0, min(canvas.size) / 320)
    font = ImageFont.load_default(size=round(11 * scale))
    for index in reversed(range(len(detections))):
        label = int(detections.labels[index])
        name = classes[label] if label < len(classes) else str(label)
        box = tuple(float(edge) for edge in detections.boxes[index])
        _draw_one(
            pen,
            box,
            f"{name} {detections.scores[index]:.2f}",
            _colour(label),
            font,
            round(2 * scale),
        )
    return canvas


def _tinted(picture: Array, detections: Detections) -> Array:
    """The picture with the pixels of each mask half in the colour of its label."""
    if detections.masks is None:
        return picture
    tinted = picture.copy()
    for number in reversed(range(len(detections))):
        (x, y), crop = detections.masks.corners[number], detections.masks.crops[number]
        part = tinted[y : y + crop.shape[0], x : x + crop.shape[1]]
        colour = np.array(_colour(int(detections.labels[number])), np.uint8)
        part[crop] = part[crop] // 2 + colour // 2
    return tinted


def _draw_one(
    pen: ImageDraw.ImageDraw,
    box: tuple[float, ...],
    text: str,
    colour: Colour,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    thick: int,
) -> None:
    width, height = pen.im.size
    x1, y1 = max(0.0, box[0]), max(0.0, box[1])
    x2, y2 = max(x1, min(width - 1.0, box[2])), max(y1, min(height - 1.0, box[3]))
    pen.rectangle((x1, y1, x2, y2), outline=colour, width=thick)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    wide, high = right - left + 2 * thick, bottom - top + 2 * thick
    x = max(0.0, min(x1, width - wide))
    y = y1 - high if y1 >= high else min(y2, height - high)
    pen.rectangle((x, y, x + wide, y + high), fill=colour)
    pen.text((x + thick - left, y + thick - top), text, fill=_readable_on(colour), font=font)


def _colour(label: int) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb((label * _GOLDEN) % 1.0, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _readable_on(colour: Colour) -> Colour:
    red, green, blue = colour
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 140
    return (0, 0, 0) if bright else (255, 255, 255)
