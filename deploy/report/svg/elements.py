"""Text, outlines and arrows as SVG elements; every length is in pixels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from unicodedata import east_asian_width
from xml.sax.saxutils import escape

from deploy.report.svg.layered_layout import Point, Rect, Size

_MARGIN = 20.0


_PAD_X, _PAD_Y = 14.0, 9.0


_HEAD = 8.0  # the length of an arrow's head


_EM = 0.62  # the width of a character of size 1, in the widest of the fonts


_LEADING = 1.4


_FONTS = {"heading": 16.0, "name": 14.0, "line": 11.5, "kind": 10.5}


_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


# Plain rules and no variables, ids or markers: they work in every viewer, and several diagrams
# can be in one page.
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
        """The room that it takes, rather too wide than too narrow."""
        columns = sum(2 if east_asian_width(letter) in "WF" else 1 for letter in self.text)
        font = _FONTS[self.style]
        return Size(columns * font * _EM, font * _LEADING)


def size_of(rows: Sequence[TextLine], pad: bool = False) -> Size:
    """The room of rows below each other, ``pad`` for what is inside of an outline."""
    if not rows:
        return Size(0, 0)
    x, y = (_PAD_X, _PAD_Y) if pad else (4.0, 2.0)
    width = max(row.size.width for row in rows)
    return Size(width + 2 * x, sum(row.size.height for row in rows) + 2 * y)


def text_block(rows: Sequence[TextLine], room: Rect, anchor: str = "start") -> str:
    """Rows of text inside a room, in its middle or from its left."""
    x = room.left + (room.width / 2 if anchor == "middle" else 4)
    y = room.top + (room.height - sum(row.size.height for row in rows)) / 2
    texts = []
    for row in rows:
        y += row.size.height
        texts.append(
            f'<text class="{row.style}" x="{x:.1f}" y="{y - _FONTS[row.style] * 0.4:.1f}" '
            f'text-anchor="{anchor}">{_text(row.text)}</text>'
        )
    return "\n".join(texts)


def box_outline(kind: str, rect: Rect) -> str:
    """A box: round for what goes into or comes out of the graph."""
    corner = {"segment": 6.0, "host": 0.0, "label": 3.0}.get(kind, 18.0)
    return (
        f'<rect class="{kind}" x="{rect.left:.1f}" y="{rect.top:.1f}" width="{rect.width:.1f}" '
        f'height="{rect.height:.1f}" rx="{corner:.1f}"/>'
    )


def arrow_path(points: Sequence[Point]) -> str:
    """A smooth line that goes straight down at each point, and its head at the last."""
    (x, y), (tip, end) = points[0], points[-1]
    ends = [*points[1:-1], (tip, end - _HEAD)]
    steps = [_step(upper, lower) for upper, lower in pairwise([(x, y), *ends])]
    return (
        f'<path class="arrow" d="M{x:.1f} {y:.1f}{"".join(steps)}"/>\n'
        f'<path class="head" d="M{tip:.1f} {end:.1f}l{-_HEAD / 2} {-_HEAD}h{_HEAD}z"/>'
    )


def _step(upper: Point, lower: Point) -> str:
    (a, top), (b, bottom) = upper, lower
    middle = (top + bottom) / 2
    if a == b:
        return f"V{bottom:.1f}"
    return f"C{a:.1f} {middle:.1f} {b:.1f} {middle:.1f} {b:.1f} {bottom:.1f}"


def document(
    title: str, told: str, heading: Sequence[TextLine], size: Size, shown: Sequence[str]
) -> str:
    """The whole file: its title and its description in words, its style, and what it shows."""
    room = size_of(heading)
    top = _MARGIN + room.height + _MARGIN * bool(heading)
    width = max(size.width, room.width) + 2 * _MARGIN
    height = top + size.height + _MARGIN
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="chain" role="img" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
            f'style="max-width:100%;height:auto">',
            f"<title>{_text(title)}</title>",
            f"<desc>{_text(told)}</desc>",
            f"<style>{_STYLE}</style>",
            f'<rect class="page" width="{width:.0f}" height="{height:.0f}"/>',
            text_block(heading, Rect(_MARGIN - 4, _MARGIN, room.width, room.height)),
            f'<g transform="translate({(width - size.width) / 2:.1f} {top:.1f})">',
            *shown,
            "</g>",
            "</svg>\n",
        )
    )


def _text(raw: str) -> str:
    """Escaped; what XML cannot hold becomes a replacement character."""
    return escape(_NO_XML.sub("\N{REPLACEMENT CHARACTER}", raw))
