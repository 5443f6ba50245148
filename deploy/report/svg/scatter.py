"""A plot of points with two scales, areas and labels, as one SVG document.

It has the width of a phone, so that its texts can be read there, and grows on larger screens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.report.svg.elements import escape_text
from deploy.report.svg.layered_layout import Rect
from deploy.report.svg.scales import Scale

_WIDTH, _HEIGHT = 360.0, 300.0
_PLOT = Rect(56.0, 30.0, 288.0, 222.0)
_RADIUS, _LEAST_RADIUS = 15.0, 3.0
_NEAR = 14.0  # pixels between points that share a label
_LABEL_HEIGHT, _DIGIT = 15.0, 7.6
_MOST_IN_LABEL = 4

_STYLE = """
.plot{font-family:system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;font-size:12px}
.plot text{fill:#1f2328}
.plot .page{fill:#fff}
.plot .quiet{fill:#59636e}
.plot .label{font-weight:600;font-size:13px;stroke:#fff;stroke-width:3px;paint-order:stroke}
.plot .axis{stroke:#59636e;fill:none}
.plot .grid{stroke:#d1d9e0;fill:none}
.plot .point{fill:#2f5fb3;fill-opacity:.25;stroke:#2f5fb3;stroke-width:1.5}
.plot .noise{stroke-dasharray:3 3}
.plot .first{stroke-width:3.5}
.plot .whisker{stroke:#2f5fb3;fill:none;stroke-width:1.5}
@media screen and (prefers-color-scheme:dark){
.plot text{fill:#e6edf3}
.plot .page{fill:#0d1117}
.plot .quiet{fill:#9da7b3}
.plot .label{stroke:#0d1117}
.plot .axis{stroke:#9da7b3}
.plot .grid{stroke:#30363d}
.plot .point{fill:#79a7f5;stroke:#79a7f5}
.plot .whisker{stroke:#79a7f5}
}
"""


@dataclass(frozen=True)
class PlotPoint:
    """A point.

    Attributes:
        label: a short name, drawn beside it.
        tooltip: what it is, in words.
        x: its value.
        y: its value.
        x_low: the least that ``x`` was measured as.
        x_high: the largest.
        area: of its circle, as a share of the largest.
        is_noise: drawn dashed.
        is_first: drawn with a thick line.
    """

    label: str
    tooltip: str
    x: float
    y: float
    x_low: float
    x_high: float
    area: float
    is_noise: bool = False
    is_first: bool = False


@dataclass(frozen=True)
class _Placed:
    point: PlotPoint
    x: float
    y: float
    radius: float


def scatter_svg(
    title: str, points: Sequence[PlotPoint], x: tuple[str, Scale], y: tuple[str, Scale]
) -> str:
    """An SVG document that follows the reader's light or dark scheme.

    Args:
        title: for screen readers.
        points: to draw; those that lie together share a label.
        x: the title and the scale of the horizontal axis.
        y: likewise of the vertical axis.
    """
    placed = [_place(point, x[1], y[1]) for point in points]
    description = " ".join(f"{point.tooltip}." for point in points)
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" role="img" '
            f'viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" width="{_WIDTH:.0f}" '
            f'height="{_HEIGHT:.0f}">',
            f"<title>{escape_text(title)}</title>",
            f"<desc>{escape_text(description)}</desc>",
            f"<style>{_STYLE}</style>",
            f'<rect class="page" width="{_WIDTH:.0f}" height="{_HEIGHT:.0f}"/>',
            *_x_axis(*x),
            *_y_axis(*y),
            *(_whisker(one, x[1]) for one in placed),
            *(_circle(one) for one in sorted(placed, key=lambda one: -one.radius)),
            *_labels(placed),
            "</svg>\n",
        )
    )


def _place(point: PlotPoint, x: Scale, y: Scale) -> _Placed:
    radius = max(_LEAST_RADIUS, _RADIUS * math.sqrt(point.area))
    return _Placed(point, _across(x.share(point.x)), _down(y.share(point.y)), radius)


def _across(share: float) -> float:
    return _PLOT.left + share * _PLOT.width


def _down(share: float) -> float:
    return _PLOT.top + (1 - share) * _PLOT.height


def _x_axis(title: str, scale: Scale) -> list[str]:
    bottom = _PLOT.bottom
    ticks = [
        f'<path class="grid" d="M{at:.1f} {_PLOT.top}V{bottom}"/>'
        f'<text class="quiet" x="{at:.1f}" y="{bottom + 17}" text-anchor="middle">'
        f"{scale.text(tick)}</text>"
        for tick in scale.ticks
        for at in [_across(scale.share(tick))]
    ]
    line = f'<path class="axis" d="M{_PLOT.left} {bottom}h{_PLOT.width}"/>'
    return [*ticks, line, _text(title, _PLOT.right, bottom + 38, "end")]


def _y_axis(title: str, scale: Scale) -> list[str]:
    right = _PLOT.right
    ticks = [
        f'<path class="grid" d="M{_PLOT.left} {at:.1f}H{right}"/>'
        f'<text class="quiet" x="{_PLOT.left - 7}" y="{at + 4:.1f}" text-anchor="end">'
        f"{scale.text(tick)}</text>"
        for tick in scale.ticks
        for at in [_down(scale.share(tick))]
    ]
    line = f'<path class="axis" d="M{_PLOT.left} {_PLOT.top}v{_PLOT.height}"/>'
    return [*ticks, line, _text(title, 4, 16, "start")]


def _text(text: str, x: float, y: float, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape_text(text)}</text>'


def _whisker(placed: _Placed, scale: Scale) -> str:
    low, high = (_across(scale.share(x)) for x in (placed.point.x_low, placed.point.x_high))
    ends = "".join(f"M{x:.1f} {placed.y - 4:.1f}v8" for x in (low, high))
    return f'<path class="whisker" d="M{low:.1f} {placed.y:.1f}H{high:.1f}{ends}"/>'


def _circle(placed: _Placed) -> str:
    point = placed.point
    looks = [
        "point",
        *(["noise"] if point.is_noise else []),
        *(["first"] if point.is_first else []),
    ]
    return (
        f'<circle class="{" ".join(looks)}" cx="{placed.x:.1f}" cy="{placed.y:.1f}" '
        f'r="{placed.radius:.1f}"><title>{escape_text(point.tooltip)}</title></circle>'
    )


def _labels(placed: Sequence[_Placed]) -> list[str]:
    """A label for each group of points, beside it where there is room."""
    circles = [Rect(one.x - 4, one.y - 4, 8, 8) for one in placed]
    taken: list[Rect] = []
    texts = []
    for group in _groups(placed):
        text = _label_text([one.point.label for one in group])
        places = _label_places(group, len(text) * _DIGIT)
        free = [rect for rect in places if not any(map(rect.overlaps, taken))]
        clear = [rect for rect in free if not any(map(rect.overlaps, circles))]
        rect = next(iter([*clear, *free, *places]))
        taken.append(rect)
        texts.append(
            f'<text class="label" x="{rect.left:.1f}" y="{rect.top + 12:.1f}">'
            f"{escape_text(text)}</text>"
        )
    return texts


def _groups(placed: Sequence[_Placed]) -> list[list[_Placed]]:
    groups: list[list[_Placed]] = []
    for one in placed:
        near = (
            group
            for group in groups
            if any(math.hypot(one.x - other.x, one.y - other.y) < _NEAR for other in group)
        )
        group = next(near, None)
        if group is None:
            groups.append([one])
        else:
            group.append(one)
    return groups


def _label_text(labels: Sequence[str]) -> str:
    more = len(labels) - _MOST_IN_LABEL
    shown = ", ".join(labels[:_MOST_IN_LABEL])
    return f"{shown} +{more}" if more > 0 else shown


def _label_places(group: Sequence[_Placed], width: float) -> list[Rect]:
    """Rectangles at the right, above, below and at the left of a group, within the drawing."""
    left = min(one.x - one.radius for one in group)
    right = max(one.x + one.radius for one in group)
    top = min(one.y - one.radius for one in group)
    bottom = max(one.y + one.radius for one in group)
    across, down = (left + right - width) / 2, (top + bottom - _LABEL_HEIGHT) / 2
    corners = (
        *((right + 4, down - _LABEL_HEIGHT / 2 - 4), (across, top - _LABEL_HEIGHT - 2)),
        *((across, bottom + 2), (left - width - 4, down - _LABEL_HEIGHT / 2 - 4)),
    )
    return [
        Rect(
            min(max(x, _PLOT.left + 2), _WIDTH - width - 2),
            min(max(y, _PLOT.top), _PLOT.bottom - _LABEL_HEIGHT),
            width,
            _LABEL_HEIGHT,
        )
        for x, y in corners
    ]
