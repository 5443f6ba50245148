"""Boxes, masks and captions drawn onto a picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from backends.contract import Array
from deploy.runtime.results.masks import Masks

Colour = tuple[int, int, int]


_GOLDEN = 0.618034  # neighbouring labels get hues far apart


def draw_boxes(
    picture: Array,
    boxes: Array,
    scores: Array,
    labels: Array,
    masks: Masks | None,
    classes: Sequence[str],
) -> Image.Image:
    """The picture (H, W, 3) uint8, RGB, with mask, box, class and score of each detection.

    The best detections, which are the first, are drawn last, on top.
    """
    canvas = Image.fromarray(picture if masks is None else _tinted(picture, masks, labels))
    pen = ImageDraw.Draw(canvas)
    scale, font = _scale_and_font(canvas)
    for index in reversed(range(len(scores))):
        label = int(labels[index])
        box = tuple(float(edge) for edge in boxes[index])
        text = f"{class_name(classes, label)} {scores[index]:.2f}"
        _draw_one(pen, box, text, colour_of(label), font, round(2 * scale))
    return canvas


def draw_caption(picture: Array, lines: Sequence[str]) -> Image.Image:
    """The picture (H, W, 3) uint8, RGB, with lines of text at its top left."""
    canvas = Image.fromarray(picture)
    if not lines:
        return canvas
    pen = ImageDraw.Draw(canvas)
    scale, font = _scale_and_font(canvas)
    margin, text = round(3 * scale), "\n".join(lines)
    left, top, right, bottom = pen.multiline_textbbox((margin, margin), text, font=font)
    pen.rectangle((0, 0, right + margin, bottom + margin), fill=(0, 0, 0))
    pen.multiline_text((2 * margin - left, 2 * margin - top), text, fill=(255, 255, 255), font=font)
    return canvas


def draw_legend(picture: Array, entries: Sequence[tuple[str, Colour]]) -> Image.Image:
    """The picture (H, W, 3) uint8, RGB, with names in their colours at its top left."""
    canvas = Image.fromarray(picture)
    pen = ImageDraw.Draw(canvas)
    scale, font = _scale_and_font(canvas)
    margin, top = round(3 * scale), 0
    for name, colour in entries:
        left, upper, right, lower = pen.textbbox((0, 0), name, font=font)
        height, width = round(lower - upper) + 2 * margin, round(right - left) + 2 * margin
        if top + height > canvas.height:
            break
        pen.rectangle((0, top, width, top + height), fill=colour)
        place = (margin - left, top + margin - upper)
        pen.text(place, name, fill=_readable_on(colour), font=font)
        top += height
    return canvas


def draw_outlines(picture: Array, polygons: Array) -> Image.Image:
    """The picture (H, W, 3) uint8, RGB, with polygons (n, corners, 2), x and y in pixels.

    Nothing is written beside them, where the next line of a text is. Neighbouring polygons differ
    in colour.
    """
    canvas = Image.fromarray(picture)
    pen = ImageDraw.Draw(canvas)
    thick = round(2 * _scale_and_font(canvas)[0])
    far = max(canvas.size) * 2  # Pillow takes no coordinates of any size
    for number, polygon in enumerate(polygons.clip(-far, far).tolist()):
        corners = [tuple(corner) for corner in polygon]
        pen.line([*corners, *corners[:2]], fill=colour_of(number), width=thick, joint="curve")
    return canvas


def class_name(classes: Sequence[str], label: int) -> str:
    """The name of a label, or its number where it has no name."""
    return classes[label] if 0 <= label < len(classes) else str(label)


def _scale_and_font(
    canvas: Image.Image,
) -> tuple[float, ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    """The thickness of lines and the font that suit a picture's size."""
    scale = max(1.0, min(canvas.size) / 320)
    return scale, ImageFont.load_default(size=round(11 * scale))


def _tinted(picture: Array, masks: Masks, labels: Array) -> Array:
    """The picture with the pixels of each mask half in the colour of its label."""
    tinted = picture.copy()
    for number in reversed(range(len(masks))):
        (x, y), crop = masks.corners[number], masks.crops[number]
        part = tinted[y : y + crop.shape[0], x : x + crop.shape[1]]
        colour = np.array(colour_of(int(labels[number])), np.uint8)
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


def colour_of(label: int) -> Colour:
    """The colour of a label; neighbouring labels differ much."""
    red, green, blue = colorsys.hsv_to_rgb((label * _GOLDEN) % 1.0, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _readable_on(colour: Colour) -> Colour:
    red, green, blue = colour
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 140
    return (0, 0, 0) if bright else (255, 255, 255)
