"""Boxes, masks, polygons, keypoints and captions drawn onto a picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from backends.contract import Array
from deploy.runtime.results.masks import Masks

if TYPE_CHECKING:  # imported where something is drawn
    from PIL import ImageDraw, ImageFont

Colour = tuple[int, int, int]
Segment = tuple[float, float, float, float]


_WHITE = (255, 255, 255)
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
    pen = _pen(canvas)
    scale, font = _scale_and_font(canvas)
    for index in reversed(range(len(scores))):
        label = int(labels[index])
        box = tuple(float(edge) for edge in boxes[index])
        text = f"{class_name(classes, label)} {scores[index]:.2f}"
        _draw_one(pen, box, text, colour_of(label), font, round(2 * scale))
    return canvas


def draw_polygons(
    picture: Array, polygons: Array, scores: Array, labels: Array, classes: Sequence[str]
) -> Image.Image:
    """The picture (H, W, 3) uint8, RGB, with polygon (n, k, 2), class and score of each object.

    The text stands at the highest corner in the picture. The best objects are drawn last, on top.
    """
    canvas = Image.fromarray(picture)
    pen = _pen(canvas)
    scale, font = _scale_and_font(canvas)
    thick = round(2 * scale)
    for index in reversed(range(len(scores))):
        label = int(labels[index])
        colour = colour_of(label)
        ends = _draw_sides(pen, polygons[index], canvas.size, colour, thick)
        text = f"{class_name(classes, label)} {scores[index]:.2f}"
        if ends:
            x, y = min(((x, y) for x1, y1, x2, y2 in ends for x, y in ((x1, y1), (x2, y2))), key=_y)
            _draw_label(pen, (x, y, y), text, colour, font, thick)
    return canvas


def _pen(canvas: Image.Image) -> ImageDraw.ImageDraw:
    from PIL import ImageDraw

    return ImageDraw.Draw(canvas)


def _y(point: tuple[float, float]) -> float:
    return point[1]


def draw_skeletons(
    canvas: Image.Image,
    points: Array,
    visible: Array,
    limbs: Sequence[tuple[int, int]],
    colours: Sequence[Colour],
) -> Image.Image:
    """The canvas, onto which the keypoints of objects are drawn.

    Args:
        canvas: in RGB.
        points: (n, K, 2) x and y of the keypoints, finite.
        visible: (n, K) bool; others are not drawn.
        limbs: which two keypoints are joined by a line; they are drawn where both are visible.
        colours: of each keypoint. Lines between two of one colour have it, others are white.
    """
    pen = _pen(canvas)
    scale, _ = _scale_and_font(canvas)
    for number in reversed(range(len(points))):
        places, seen = points[number].astype(float).tolist(), visible[number]
        for start, end in limbs:
            segment = visible_part(places[start], places[end], canvas.size)
            if seen[start] and seen[end] and segment is not None:
                colour = colours[start] if colours[start] == colours[end] else _WHITE
                pen.line(segment, fill=colour, width=round(2 * scale))
        for keypoint in np.flatnonzero(seen):
            _draw_point(pen, places[keypoint], colours[int(keypoint)], 3 * scale)
    return canvas


def _draw_point(
    pen: ImageDraw.ImageDraw, place: Sequence[float], colour: Colour, radius: float
) -> None:
    (x, y), (width, height) = place, pen.im.size
    if 0 <= x <= width and 0 <= y <= height:
        _draw_dot(pen, place, radius, fill=colour, outline=(0, 0, 0))


def _draw_dot(
    pen: ImageDraw.ImageDraw,
    place: Sequence[float],
    radius: float,
    fill: Colour,
    outline: Colour | None = None,
) -> None:
    x, y = place
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill, outline=outline)


def visible_part(
    start: Sequence[float], end: Sequence[float], size: tuple[int, int]
) -> Segment | None:
    """The part x1, y1, x2, y2 of a line that lies in a picture of this width and height, or None.

    Pillow's time grows with the length of a line, also outside of the picture.

    Examples:
        >>> visible_part((-2.0, 1.0), (2.0, 1.0), (4, 4))
        (0.0, 1.0, 2.0, 1.0)
        >>> visible_part((-2.0, 1.0), (-1.0, 1.0), (4, 4)) is None
        True
    """
    first, last = 0.0, 1.0
    for origin, target, limit in zip(start, end, size, strict=True):
        along = target - origin
        if along == 0 and not 0 <= origin <= limit:
            return None
        if along != 0:
            enter, leave = sorted((-origin / along, (limit - origin) / along))
            first, last = max(first, enter), min(last, leave)
    if first > last:
        return None
    (x1, y1), (x2, y2) = start, end
    wide, high = x2 - x1, y2 - y1
    return x1 + first * wide, y1 + first * high, x1 + last * wide, y1 + last * high


def draw_caption(picture: Array, lines: Sequence[str]) -> Image.Image:
    """The picture (H, W, 3) uint8, RGB, with lines of text at its top left."""
    canvas = Image.fromarray(picture)
    if not lines:
        return canvas
    pen = _pen(canvas)
    scale, font = _scale_and_font(canvas)
    margin, text = round(3 * scale), "\n".join(lines)
    left, top, right, bottom = pen.multiline_textbbox((margin, margin), text, font=font)
    pen.rectangle((0, 0, right + margin, bottom + margin), fill=(0, 0, 0))
    pen.multiline_text((2 * margin - left, 2 * margin - top), text, fill=(255, 255, 255), font=font)
    return canvas


def draw_legend(picture: Array, entries: Sequence[tuple[str, Colour]]) -> Image.Image:
    """The picture (H, W, 3) uint8, RGB, with names in their colours at its top left."""
    canvas = Image.fromarray(picture)
    pen = _pen(canvas)
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
    pen = _pen(canvas)
    thick = round(2 * _scale_and_font(canvas)[0])
    for number, polygon in enumerate(polygons):
        _draw_sides(pen, polygon, canvas.size, colour_of(number), thick)
    return canvas


def _draw_sides(
    pen: ImageDraw.ImageDraw, polygon: Array, size: tuple[int, int], colour: Colour, thick: int
) -> list[Segment]:
    """Draw what lies in the picture of a polygon (corners, 2), and return it."""
    corners = polygon.astype(float).tolist()
    sides = zip(corners, [*corners[1:], *corners[:1]], strict=True)
    segments = [visible_part(start, end, size) for start, end in sides]
    visible = [segment for segment in segments if segment is not None]
    for segment in visible:
        pen.line(segment, fill=colour, width=thick)
        _draw_dot(pen, segment[:2], thick / 2, fill=colour)  # lines alone leave notches
        _draw_dot(pen, segment[2:], thick / 2, fill=colour)
    return visible


def class_name(classes: Sequence[str], label: int) -> str:
    """The name of a label, or its number where it has no name."""
    return classes[label] if 0 <= label < len(classes) else str(label)


def _scale_and_font(
    canvas: Image.Image,
) -> tuple[float, ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    """The thickness of lines and the font that suit a picture's size."""
    from PIL import ImageFont

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
    _draw_label(pen, (x1, y1, y2), text, colour, font, thick)


def _draw_label(
    pen: ImageDraw.ImageDraw,
    place: tuple[float, float, float],
    text: str,
    colour: Colour,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    thick: int,
) -> None:
    """A text on its colour above an object, or below it where there is no space above."""
    (width, height), (x1, y1, y2) = pen.im.size, place  # left edge, top, bottom
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
