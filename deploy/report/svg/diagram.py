"""A diagram of boxes and arrows as one SVG document without script, font or network."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError
from typing import Literal

from backends.contract import DeployError
from deploy.report.svg.elements import (
    TextLine,
    arrow_path,
    box_outline,
    document,
    engine_band,
    size_of,
    text_block,
    with_tooltip,
)
from deploy.report.svg.layered_layout import Edge, Layout, Rect, Size, layout_graph

Kind = Literal["segment", "host", "input", "output"]


_BAND_ROOM = 6.0  # at both sides of a coloured box
_BOX_COLUMNS, _LABEL_COLUMNS, _LIST_COLUMNS = 40, 36, 60  # characters of a line
_UNBREAKABLE = re.compile(r"(?<=,) |(?<=\d) (?=\w+$)")  # spaces in [1, 3, 8, 8] and in 12 KiB
NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"


class DiagramError(DeployError):
    """Boxes and arrows that cannot be drawn."""


@dataclass(frozen=True)
class Box:
    """A box.

    Attributes:
        key: its own.
        title: of it.
        lines: smaller ones below the title; the first one of a coloured box names its engine.
        kind: of it.
        colour: the number of its engine's colour and pattern, from 1 up; 0 is that of its kind.
        tooltip: shown where a pointer rests on it.
    """

    key: str
    title: str
    lines: tuple[str, ...]
    kind: Kind
    colour: int = 0
    tooltip: str = ""


@dataclass(frozen=True)
class Arrow:
    """An arrow from one box to another.

    Attributes:
        source: the key of the one.
        target: the key of the other.
        label: of it; in a column, what follows a line break is smaller.
        tooltip: shown where a pointer rests on it.
    """

    source: str
    target: str
    label: str
    tooltip: str = ""


Labels = Mapping[tuple[str, str], Sequence[str]]
"""The labels of all arrows between the same two boxes."""


def engine_colours(names: Iterable[str]) -> Mapping[str, int]:
    """The number of each engine's colour, in the order of their first occurrence."""
    return {name: number for number, name in enumerate(dict.fromkeys(names), 1)}


def render_svg(title: str, boxes: Sequence[Box], arrows: Sequence[Arrow]) -> str:
    """An SVG document, from top to bottom, that follows the reader's light or dark scheme.

    Arrows between the same two boxes become one arrow with a line for each. A kind has its word
    and its outline: a host step is dashed, inputs and outputs are round. Long texts are wrapped.
    The document may stand alone or in an HTML page, and shrinks to the width of a phone.

    Raises:
        DiagramError: there is no box, two boxes have one key, an arrow has no box at one end, or
            the arrows have a cycle.

    Examples:
        >>> boxes = [Box("a", "backbone", ("fp32",), "segment"), Box("b", "nms", (), "host")]
        >>> svg = render_svg("net", boxes, [Arrow("a", "b", "maps float32[1, 255, 13, 13]")])
        >>> svg.startswith("<svg ")
        True
    """
    check_diagram(boxes, arrows)
    grouped = group_labels(arrows)
    texts = {box.key: _box_lines(box) for box in boxes}
    labels = [_label_lines(group) for group in grouped.values()]
    layout = _layout(boxes, texts, dict(zip(grouped, labels, strict=True)))
    tooltips = ["\n".join(_tooltips(arrows, *ends)) for ends in grouped]
    routes = list(zip(labels, layout.routes, tooltips, strict=True))
    elements = [
        *(with_tooltip(text, [arrow_path(route.points)]) for _, route, text in routes),
        *(_draw_box(box, layout.boxes[box.key], texts[box.key]) for box in boxes),
        *(with_tooltip(text, _draw_label(lines, route.label)) for lines, route, text in routes),
    ]
    heading = [TextLine("heading", part) for part in textwrap.wrap(title, 60)]
    return document(title, describe_diagram(boxes, grouped), heading, layout.size, elements)


def _tooltips(arrows: Sequence[Arrow], source: str, target: str) -> list[str]:
    """What is shown of all arrows between two boxes, each text once."""
    between = [arrow for arrow in arrows if (arrow.source, arrow.target) == (source, target)]
    return list(dict.fromkeys(arrow.tooltip for arrow in between if arrow.tooltip))


def _draw_box(box: Box, rect: Rect, lines: Sequence[TextLine]) -> str:
    band = [engine_band(box.colour, rect)] if box.colour else []
    outline = box_outline(box.kind, rect, box.colour)
    return with_tooltip(box.tooltip, [outline, *band, text_block(lines, rect, "middle")])


def _draw_label(lines: Sequence[TextLine], rect: Rect) -> list[str]:
    return [box_outline("label", rect), text_block(lines, rect)] if rect.width else []


def first_box_offset(boxes: Sequence[Box], arrows: Sequence[Arrow]) -> float:
    """The middle of the first box in the diagram, as a share of the width from 0 to 1.

    Raises:
        DiagramError: see ``render_svg``.
    """
    check_diagram(boxes, arrows)
    texts = {box.key: _box_lines(box) for box in boxes}
    labels = {ends: _label_lines(group) for ends, group in group_labels(arrows).items()}
    layout = _layout(boxes, texts, labels)
    first = layout.boxes[boxes[0].key]
    return (first.left + first.width / 2) / layout.size.width


def check_diagram(boxes: Sequence[Box], arrows: Sequence[Arrow]) -> None:
    """Raise an error where boxes and arrows cannot be drawn.

    Raises:
        DiagramError: there is no box, two have one key, or an arrow lacks a box at one end.
    """
    keys = [box.key for box in boxes]
    if not keys:
        raise DiagramError("diagram", expected="at least one box", got="none")
    if double := next((key for key in keys if keys.count(key) > 1), None):
        raise DiagramError(
            f"box '{double}'", expected="a key of its own", got=f"{keys.count(double)} boxes"
        )
    for arrow in arrows:
        if arrow.source not in keys or arrow.target not in keys:
            raise DiagramError(
                f"arrow from '{arrow.source}' to '{arrow.target}'",
                expected="boxes at both ends",
                got=f"boxes {', '.join(keys)}",
                do="Add the missing box or drop the arrow.",
            )


def group_labels(arrows: Sequence[Arrow]) -> Labels:
    """The labels of all arrows, by the boxes that they are between."""
    groups: dict[tuple[str, str], list[str]] = {}
    for arrow in arrows:
        groups.setdefault((arrow.source, arrow.target), []).append(arrow.label)
    return groups


def _box_lines(box: Box) -> list[TextLine]:
    return [
        TextLine("kind", box.kind),
        *(TextLine("name", part) for part in textwrap.wrap(box.title, _BOX_COLUMNS)),
        *box_details(box, _BOX_COLUMNS),
    ]


def box_details(box: Box, columns: int) -> list[TextLine]:
    """The lines below the title of a box, wrapped; the engine of a coloured box stands out."""
    styles = [
        "engine" if box.colour and number == 0 else "line" for number in range(len(box.lines))
    ]
    return [
        TextLine(style, part)
        for style, line in zip(styles, box.lines, strict=True)
        for part in wrap_label(line, columns)
    ]


def _label_lines(labels: Sequence[str]) -> list[TextLine]:
    """A single label is wrapped, for narrow screens; several have a line each where possible."""
    columns = _LABEL_COLUMNS if len(labels) == 1 else _LIST_COLUMNS
    return [TextLine("line", part) for label in labels for part in wrap_label(label, columns)]


def wrap_label(text: str, columns: int) -> list[str]:
    """Lines that break neither inside of a shape nor before a unit."""
    unbreakable = _UNBREAKABLE.sub(NO_BREAK_SPACE, text)
    lines = textwrap.wrap(unbreakable, columns, subsequent_indent="  ")
    return [line.replace(NO_BREAK_SPACE, " ") for line in lines]


def _layout(
    boxes: Sequence[Box],
    texts: Mapping[str, Sequence[TextLine]],
    labels: Mapping[tuple[str, str], Sequence[TextLine]],
) -> Layout:
    sizes = {box.key: _box_size(box, texts[box.key]) for box in boxes}
    edges = [Edge(*ends, size_of(lines)) for ends, lines in labels.items()]
    try:
        return layout_graph(sizes, edges)
    except CycleError as error:
        raise DiagramError("arrows", expected="no cycle", got=" to ".join(error.args[1])) from error


def _box_size(box: Box, lines: Sequence[TextLine]) -> Size:
    """The size of a box; a band at its left does not touch its centred text."""
    size = size_of(lines, pad=True)
    return Size(size.width + 2 * _BAND_ROOM, size.height) if box.colour else size


def describe_diagram(boxes: Sequence[Box], grouped: Labels) -> str:
    """The diagram as text, for screen readers."""
    titles = {box.key: box.title for box in boxes}
    return " ".join(
        (
            *(f"{box.kind} {', '.join((box.title, *box.lines))}." for box in boxes),
            *(
                f"{titles[source]} to {titles[target]}: {'; '.join(labels)}."
                for (source, target), labels in grouped.items()
            ),
        )
    )
