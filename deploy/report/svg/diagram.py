"""A graph of segments as one SVG file: no script, no font, nothing from the network."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError
from typing import Literal

from backends.contract import DeployError
from deploy.report.svg.elements import (
    TextLine,
    arrow_path,
    box_outline,
    document,
    size_of,
    text_block,
)
from deploy.report.svg.layered_layout import Edge, Layout, layout_graph

Kind = Literal["segment", "host", "input", "output"]


_BOX_COLUMNS, _LABEL_COLUMNS, _STACK_COLUMNS = 40, 36, 60


_TIED = re.compile(r"(?<=,) |(?<=\d) (?=\w+$)")  # spaces in [1, 3, 8, 8] and in 12 KiB


_TIE = "\N{NO-BREAK SPACE}"


class DiagramError(DeployError):
    """Boxes and arrows that make no diagram."""


@dataclass(frozen=True)
class Box:
    """A box: its unique key, its title, smaller lines below, and what it stands for."""

    key: str
    title: str
    lines: tuple[str, ...]
    kind: Kind


@dataclass(frozen=True)
class Arrow:
    """An arrow from one box's key to another's, and what flows along it."""

    source: str
    target: str
    label: str


Stacks = Mapping[tuple[str, str], Sequence[str]]


def render_svg(title: str, boxes: Sequence[Box], arrows: Sequence[Arrow]) -> str:
    """An SVG document, from top to bottom, that follows the reader's light or dark scheme.

    Arrows between the same two boxes become one arrow with a line for each. A kind is told by its
    word and its outline: a host step is dashed, inputs and outputs are round. Long texts are
    wrapped. It may stand alone or inside an HTML page, and shrinks to the width of a phone.

    Raises:
        DiagramError: there is no box, two boxes have one key, an arrow begins or ends at no box,
            or the arrows go round.
    """
    _check(boxes, arrows)
    stacks = _stacks(arrows)
    texts = {box.key: _box_rows(box) for box in boxes}
    labels = [_label_rows(stack) for stack in stacks.values()]
    found = _placed(texts, dict(zip(stacks, labels, strict=True)))
    shown = [
        *(arrow_path(route.points) for route in found.routes),
        *(box_outline(box.kind, found.boxes[box.key]) for box in boxes),
        *(text_block(texts[box.key], found.boxes[box.key], "middle") for box in boxes),
        *(box_outline("label", route.label) for route in found.routes if route.label.width),
        *(text_block(rows, route.label) for rows, route in zip(labels, found.routes, strict=True)),
    ]
    heading = [TextLine("heading", part) for part in textwrap.wrap(title, 60)]
    return document(title, _told(boxes, stacks), heading, found.size, shown)


def first_box_offset(boxes: Sequence[Box], arrows: Sequence[Arrow]) -> float:
    """How far from the left the first box stands in the drawing, from 0 to 1; errors as of svg."""
    _check(boxes, arrows)
    texts = {box.key: _box_rows(box) for box in boxes}
    labels = {ends: _label_rows(stack) for ends, stack in _stacks(arrows).items()}
    found = _placed(texts, labels)
    first = found.boxes[boxes[0].key]
    return (first.left + first.width / 2) / found.size.width


def _check(boxes: Sequence[Box], arrows: Sequence[Arrow]) -> None:
    keys = [box.key for box in boxes]
    if not keys:
        raise DiagramError("diagram", expected="at least one box", got="none")
    if double := next((key for key in keys if keys.count(key) > 1), None):
        raise DiagramError(
            f"box '{double}'", expected="a key of its own", got=f"{keys.count(double)} boxes"
        )
    for one in arrows:
        if one.source not in keys or one.target not in keys:
            raise DiagramError(
                f"arrow from '{one.source}' to '{one.target}'",
                expected="boxes at both ends",
                got=f"boxes {', '.join(keys)}",
                do="Add the missing box or drop the arrow.",
            )


def _stacks(arrows: Sequence[Arrow]) -> Stacks:
    """The labels of all arrows between the same two boxes."""
    stacks: dict[tuple[str, str], list[str]] = {}
    for one in arrows:
        stacks.setdefault((one.source, one.target), []).append(one.label)
    return stacks


def _box_rows(box: Box) -> list[TextLine]:
    return [
        TextLine("kind", box.kind),
        *(TextLine("name", part) for part in textwrap.wrap(box.title, _BOX_COLUMNS)),
        *(TextLine("line", part) for line in box.lines for part in _wrapped(line, _BOX_COLUMNS)),
    ]


def _label_rows(stack: Sequence[str]) -> list[TextLine]:
    """One label is wrapped, for narrow screens; several keep a line each where they can."""
    columns = _LABEL_COLUMNS if len(stack) == 1 else _STACK_COLUMNS
    return [TextLine("line", part) for label in stack for part in _wrapped(label, columns)]


def _wrapped(text: str, columns: int) -> list[str]:
    """Lines that break neither inside of a shape nor before a unit."""
    lines = textwrap.wrap(_TIED.sub(_TIE, text), columns, subsequent_indent="  ")
    return [line.replace(_TIE, " ") for line in lines]


def _placed(
    texts: Mapping[str, Sequence[TextLine]], labels: Mapping[tuple[str, str], Sequence[TextLine]]
) -> Layout:
    sizes = {key: size_of(rows, pad=True) for key, rows in texts.items()}
    edges = [Edge(*ends, size_of(rows)) for ends, rows in labels.items()]
    try:
        return layout_graph(sizes, edges)
    except CycleError as error:
        raise DiagramError(
            "arrows",
            expected="none that leads back to where it comes from",
            got=" to ".join(error.args[1]),
        ) from error


def _told(boxes: Sequence[Box], stacks: Stacks) -> str:
    """The diagram in words, for those who do not see it."""
    names = {box.key: box.title for box in boxes}
    return " ".join(
        (
            *(f"{box.kind} {', '.join((box.title, *box.lines))}." for box in boxes),
            *(
                f"{names[source]} to {names[target]}: {'; '.join(stack)}."
                for (source, target), stack in stacks.items()
            ),
        )
    )
