"""Text, outlines and arrows as SVG elements; every length is in pixels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from unicodedata import east_asian_width
from xml.sax.saxutils import escape

from backends.terminal import printable
from deploy.report.svg.layered_layout import Point, Rect, Size

_MARGIN = 20.0
_PAD_X, _PAD_Y = 14.0, 9.0
_ARROW_HEAD = 8.0  # its length
_CHARACTER_WIDTH = 0.62  # of a font size, in the widest of the fonts
_LINE_HEIGHT = 1.4  # of a font size
_FONTS = {"heading": 16.0, "name": 14.0, "line": 11.5, "kind": 10.5}
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


# No variables, ids or markers: the rules work in every viewer, and a page may have several
# diagrams.
_STYLE = """
.chain{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace}
.chain text{fill:#1f2328;white-space:pre}
.chain .page{fill:#fff}
.chain .heading{font-size:16px;font-weight:600}
.chain .name{font-size:14px;font-weight:600}
.chain .line{font-size:11.5px}
.chain .kind{font-size:10.5px;fill:#59636e}
.chain .segment{fill:#eef4ff;stroke:#2f5fb3;stroke-width:1.5}
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


def box_outline(kind: str, rect: Rect) -> str:
    """The outline of a box or label; inputs and outputs are round."""
    corner = {"segment": 6.0, "host": 0.0, "label": 3.0}.get(kind, 18.0)
    return (
        f'<rect class="{kind}" x="{rect.left:.1f}" y="{rect.top:.1f}" width="{rect.width:.1f}" '
        f'height="{rect.height:.1f}" rx="{corner:.1f}"/>'
    )


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
) -> str:
    """The whole document.

    Args:
        title: for screen readers and tooltips.
        description: the content as text, for screen readers.
        heading: lines above the drawing.
        size: of the drawing.
        elements: of the drawing.
    """
    heading_size = size_of(heading)
    top = _MARGIN + heading_size.height + _MARGIN * bool(heading)
    width = max(size.width, heading_size.width) + 2 * _MARGIN
    height = top + size.height + _MARGIN
    heading_rect = Rect(_MARGIN - 4, _MARGIN, heading_size.width, heading_size.height)
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
