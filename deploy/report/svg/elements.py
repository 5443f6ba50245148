"""Text, outlines and arrows as SVG elements; every length is in pixels."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from unicodedata import east_asian_width
from xml.sax.saxutils import escape

from backends.terminal import printable
from deploy.report.svg.layered_layout import Point, Rect, Size

_MARGIN = 20.0
_PAD_X, _PAD_Y = 14.0, 9.0
_ARROW_HEAD = 8.0  # its length
_LANE_BEND = 6.0  # radius of the corners of a lane
_CHARACTER_WIDTH = 0.62  # of a font size, in the widest of the fonts
_LINE_HEIGHT = 1.4  # of a font size
_FONTS = {"heading": 16.0, "name": 14.0, "engine": 11.5, "line": 11.5, "kind": 10.5}
_BAND_WIDTH, _BAND_INSET = 7.0, 5.0  # of the band that marks an engine, in its box
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


# No variables, ids or markers: the rules work in every viewer, and a page may have several
# diagrams.
_STYLE = """
.chain{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace}
.chain text{fill:#1f2328;white-space:pre}
.chain .page{fill:#fff}
.chain .heading{font-size:16px;font-weight:600}
.chain .name{font-size:14px;font-weight:600}
.chain .engine{font-size:11.5px;font-weight:600}
.chain .line{font-size:11.5px}
.chain .kind{font-size:10.5px;fill:#59636e}
.chain .segment{fill:#eef4ff;stroke:#2f5fb3;stroke-width:1.5}
.chain .colour1{fill:#eef4ff;stroke:#2f5fb3}
.chain .colour2{fill:#ebf6e6;stroke:#3a7d1f}
.chain .colour3{fill:#f5efff;stroke:#7a4bc2}
.chain .colour4{fill:#fff0f3;stroke:#b4325a}
.chain .colour5{fill:#f6f3e0;stroke:#6f6416}
.chain .colour6{fill:#f1f3f5;stroke:#59636e}
.chain .band{fill:none;stroke-width:2}
.chain .host{fill:#fff8e5;stroke:#8a5a00;stroke-width:1.5;stroke-dasharray:6 4}
.chain .input{fill:#f6f8fa;stroke:#59636e;stroke-width:1.5}
.chain .output{fill:#f6f8fa;stroke:#59636e;stroke-width:3}
.chain .arrow{fill:none;stroke:#59636e;stroke-width:1.5}
.chain .head{fill:#59636e}
.chain .label{fill:#f1f3f5}
@media (prefers-color-scheme:dark){
.chain text{fill:#e6edf3}
.chain .page{fill:#0d1117}
.chain .kind{fill:#9da7b3}
.chain .segment{fill:#14233d;stroke:#79a7f5}
.chain .colour1{fill:#14233d;stroke:#79a7f5}
.chain .colour2{fill:#14280d;stroke:#7cc65c}
.chain .colour3{fill:#261b40;stroke:#b794f6}
.chain .colour4{fill:#3a1522;stroke:#f48fb1}
.chain .colour5{fill:#28240c;stroke:#cfc15a}
.chain .colour6{fill:#1b2129;stroke:#9da7b3}
.chain .band{fill:none}
.chain .host{fill:#2b2205;stroke:#d9a520}
.chain .input,.chain .output{fill:#1b2129;stroke:#9da7b3}
.chain .arrow{stroke:#9da7b3}
.chain .head{fill:#9da7b3}
.chain .label{fill:#1b2129}
}
"""


@dataclass(frozen=True)
class TextLine:
    """A line of text in a style: ``heading``, ``name``, ``line`` or ``kind``."""

    style: str
    text: str

    @property
    def size(self) -> Size:
        """The space that it takes; an upper bound, since the viewer chooses the font."""
        columns = sum(2 if east_asian_width(letter) in "WF" else 1 for letter in self.text)
        font = _FONTS[self.style]
        return Size(columns * font * _CHARACTER_WIDTH, font * _LINE_HEIGHT)


def size_of(lines: Sequence[TextLine], pad: bool = False) -> Size:
    """The size of lines below each other; ``pad`` adds the padding of an outline."""
    if not lines:
        return Size(0, 0)
    x, y = (_PAD_X, _PAD_Y) if pad else (4.0, 2.0)
    width = max(line.size.width for line in lines)
    return Size(width + 2 * x, sum(line.size.height for line in lines) + 2 * y)


def text_block(lines: Sequence[TextLine], rect: Rect, anchor: str = "start") -> str:
    """Lines of text inside a rectangle, centred or from its left."""
    x = rect.left + (rect.width / 2 if anchor == "middle" else 4)
    y = rect.top + (rect.height - sum(line.size.height for line in lines)) / 2
    texts = []
    for line in lines:
        y += line.size.height
        texts.append(
            f'<text class="{line.style}" x="{x:.1f}" y="{y - _FONTS[line.style] * 0.4:.1f}" '
            f'text-anchor="{anchor}">{escape_text(line.text)}</text>'
        )
    return "\n".join(texts)


def box_outline(kind: str, rect: Rect, colour: int = 0) -> str:
    """The outline of a box or label; inputs and outputs are round.

    Args:
        kind: of the box, or ``label``.
        rect: its place.
        colour: the number of its engine's colour; 0 is the colour of its kind.
    """
    corner = {"segment": 6.0, "host": 0.0, "label": 3.0}.get(kind, 18.0)
    style = f"{kind} colour{_colour(colour)}" if colour else kind
    return (
        f'<rect class="{style}" x="{rect.left:.1f}" y="{rect.top:.1f}" width="{rect.width:.1f}" '
        f'height="{rect.height:.1f}" rx="{corner:.1f}"/>'
    )


def engine_band(colour: int, rect: Rect) -> str:
    """A band at the left of a box, with a pattern for each colour: legible without any.

    Args:
        colour: its number, from 1 up.
        rect: of the box.
    """
    left, top = rect.left + _BAND_INSET, rect.top + _BAND_INSET
    band = Rect(left, top, _BAND_WIDTH, rect.height - 2 * _BAND_INSET)
    colour = _colour(colour)
    return f'<path class="band colour{colour}" d="{_PATTERNS[colour - 1](band)}"/>'


def _colour(number: int) -> int:
    """Engines beyond the last colour share it."""
    return min(number, len(_PATTERNS))


def _stripes(band: Rect, rise: float, gap: float) -> str:
    """Lines from the left to the right of a band, each lower by ``rise`` at its right end."""
    count = max(1, int((band.height - abs(rise)) / gap) + 1)
    starts = [band.top + max(0.0, -rise) + gap * index for index in range(count)]
    return "".join(f"M{band.left:.1f} {y:.1f}L{band.right:.1f} {y + rise:.1f}" for y in starts)


def _verticals(band: Rect, count: int) -> str:
    gap = band.width / count
    xs = [band.left + gap * (index + 0.5) for index in range(count)]
    return "".join(f"M{x:.1f} {band.top:.1f}V{band.bottom:.1f}" for x in xs)


def _frame(band: Rect) -> str:
    return f"M{band.left:.1f} {band.top:.1f}H{band.right:.1f}V{band.bottom:.1f}H{band.left:.1f}z"


_PATTERNS: Sequence[Callable[[Rect], str]] = (
    lambda band: _verticals(band, 4),  # the lines touch: the band is filled
    lambda band: _stripes(band, -5.0, 5.0),
    lambda band: _stripes(band, 0.0, 5.0),
    lambda band: _verticals(band, 2),
    lambda band: _stripes(band, 5.0, 6.0) + _stripes(band, -5.0, 6.0),
    _frame,
)
"""For each colour, the lines of its band."""


def with_tooltip(tooltip: str, elements: Sequence[str]) -> str:
    """Elements with a text that is shown where a pointer rests on them; none without a text."""
    if not tooltip:
        return "\n".join(elements)
    return "\n".join(("<g>", f"<title>{escape_text(tooltip)}</title>", *elements, "</g>"))


def arrow_path(points: Sequence[Point]) -> str:
    """A smooth line that is vertical at each point, with an arrow head at the last."""
    (x, y), (tip, end) = points[0], points[-1]
    stops = [(x, y), *points[1:-1], (tip, end - _ARROW_HEAD)]
    curves = "".join(_curve(upper, lower) for upper, lower in pairwise(stops))
    return (
        f'<path class="arrow" d="M{x:.1f} {y:.1f}{curves}"/>\n'
        f'<path class="head" d="M{tip:.1f} {end:.1f}l{-_ARROW_HEAD / 2} {-_ARROW_HEAD}'
        f'h{_ARROW_HEAD}z"/>'
    )


def lane_path(start: Point, lane: float, ends: Sequence[Point]) -> str:
    """A line to the right, down in a lane and back to the left, with an arrow head at each end.

    Args:
        start: at the right side of a box.
        lane: its x, right of all boxes.
        ends: at the right sides of boxes further down, from the top.
    """
    x, y = start
    (_, first), *_ = ends
    bend = min(_LANE_BEND, (first - y) / 2)
    lines = [f"M{x:.1f} {y:.1f}H{lane - bend:.1f}Q{lane:.1f} {y:.1f} {lane:.1f} {y + bend:.1f}"]
    for tip, end in ends:
        lines.append(
            f"V{end - bend:.1f}Q{lane:.1f} {end:.1f} {lane - bend:.1f} {end:.1f}"
            f"H{tip + _ARROW_HEAD:.1f}M{lane:.1f} {end - bend:.1f}"
        )
    heads = "".join(
        f"M{tip:.1f} {end:.1f}l{_ARROW_HEAD} {-_ARROW_HEAD / 2}v{_ARROW_HEAD}z" for tip, end in ends
    )
    return f'<path class="arrow" d="{"".join(lines)}"/>\n<path class="head" d="{heads}"/>'


def _curve(upper: Point, lower: Point) -> str:
    (upper_x, top), (lower_x, bottom) = upper, lower
    middle = (top + bottom) / 2
    if upper_x == lower_x:
        return f"V{bottom:.1f}"
    return f"C{upper_x:.1f} {middle:.1f} {lower_x:.1f} {middle:.1f} {lower_x:.1f} {bottom:.1f}"


def document(
    title: str,
    description: str,
    heading: Sequence[TextLine],
    size: Size,
    elements: Sequence[str],
    margin: float = _MARGIN,
) -> str:
    """The whole document.

    Args:
        title: for screen readers and tooltips.
        description: the content as text, for screen readers.
        heading: lines above the drawing.
        size: of the drawing.
        elements: of the drawing.
        margin: around the drawing.
    """
    heading_size = size_of(heading)
    top = margin + heading_size.height + margin * bool(heading)
    width = max(size.width, heading_size.width) + 2 * margin
    height = top + size.height + margin
    heading_rect = Rect(margin - 4, margin, heading_size.width, heading_size.height)
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="chain" role="img" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
            f'style="max-width:100%;height:auto">',
            f"<title>{escape_text(title)}</title>",
            f"<desc>{escape_text(description)}</desc>",
            f"<style>{_STYLE}</style>",
            f'<rect class="page" width="{width:.0f}" height="{height:.0f}"/>',
            text_block(heading, heading_rect),
            f'<g transform="translate({(width - size.width) / 2:.1f} {top:.1f})">',
            *elements,
            "</g>",
            "</svg>\n",
        )
    )


def escape_text(text: str) -> str:
    """Escaped and printable text; what XML does not allow becomes a replacement character."""
    return escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", printable(text)))
