"""A diagram with its boxes in one column, in the order in which they run: as narrow as a phone.

What goes from a box to the next one is a straight arrow. What goes further runs in a lane beside
the column, one lane for a tensor however many boxes read it. The tensors that leave a box are
listed below it, each with the numbers of the boxes that read it, so that no line has to be followed
with a finger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import accumulate

from deploy.report.svg.diagram import (
    NO_BREAK_SPACE,
    Arrow,
    Box,
    DiagramError,
    box_details,
    check_diagram,
    describe_diagram,
    group_labels,
    wrap_label,
)
from deploy.report.svg.elements import (
    TextLine,
    arrow_path,
    box_outline,
    document,
    engine_band,
    lane_path,
    size_of,
    text_block,
    with_tooltip,
)
from deploy.report.svg.layered_layout import Rect, Size

_COLUMNS, _TITLE_COLUMNS = 36, 30  # characters of a line
_MARGIN = 8.0
_BOX_LEFT = 14.0  # from the outline of a box to its text
_LABEL_LEFT = 30.0  # from the left of the column
_ARROW_LEFT = 18.0
_MIN_GAP, _GAP_PADDING = 26.0, 8.0  # between two boxes, around the labels there
_MIN_WIDTH = 200.0
_LANE_GAP, _LANE_LEFT = 9.0, 22.0  # between two lanes; from the boxes to the first
_PORT_GAP, _PORT_INSET = 8.0, 12.0  # between two ends of lanes at a box; from its corner
_SWATCH = Size(30.0, 22.0)


@dataclass(frozen=True)
class KeyEntry:
    """What a colour means.

    Attributes:
        colour: its number.
        engine: that it stands for.
        text: smaller, about the engine.
    """

    colour: int
    engine: str
    text: str


@dataclass(frozen=True)
class _Flow:
    """A tensor that leaves a box: the arrows with it, and the boxes by their places.

    Further lines of the label are smaller.
    """

    label: str
    source: int
    targets: tuple[int, ...]
    tooltip: str

    @property
    def end(self) -> int:
        return max(self.targets)

    @property
    def far(self) -> list[int]:
        """The boxes that it reaches in a lane."""
        return [target for target in self.targets if target != self.source + 1]


@dataclass(frozen=True)
class _Ports:
    """The heights of the ends of lanes at a box, from its top and from its bottom."""

    arriving: Mapping[int, float]
    leaving: Mapping[int, float]

    @property
    def height(self) -> float:
        return _PORT_GAP * (len(self.arriving) + len(self.leaving) - 1) + 2 * _PORT_INSET


def render_column(
    title: str,
    boxes: Sequence[Box],
    arrows: Sequence[Arrow],
    key: Sequence[KeyEntry] = (),
    heading: str = "",
) -> str:
    """An SVG document of one column, from top to bottom, that follows the reader's scheme.

    Segments and host steps are numbered in the order in which they run. Arrows from one box with
    one label are one tensor.

    Args:
        title: for screen readers.
        boxes: at least one; where the arrows leave their order free, it is kept.
        arrows: without a cycle.
        key: what the colours mean, drawn above the column.
        heading: drawn above all.

    Raises:
        DiagramError: see ``render_svg``.
    """
    check_diagram(boxes, arrows)
    boxes = _in_order(boxes, arrows)
    names = _names(boxes)
    flows = _flows(boxes, arrows)
    lanes = _assign_lanes(flows)
    texts = [_box_lines(box, name) for box, name in zip(boxes, names, strict=True)]
    labels = [_label_lines(flows, place, names) for place in range(len(boxes))]
    ports = [_assign_ports(lanes, place) for place in range(len(boxes))]
    width = _width(texts, labels)
    top = (_SWATCH.height + 8) * len(key) + 12 * bool(key)
    rects = _place(texts, labels, ports, width, top)
    elements = [
        *(element for index, entry in enumerate(key) for element in _draw_entry(entry, index)),
        *(_draw_lane(flow, lane, rects, ports) for flow, lane in lanes.items()),
        *(
            _draw_arrow(rects[place], rects[place + 1], flows, place)
            for place in range(len(boxes) - 1)
            if any(place + 1 in flow.targets for flow in flows if flow.source == place)
        ),
        *map(_draw_box, boxes, rects, texts),
        *(_draw_labels(flows, place, names, rect) for place, rect in enumerate(rects)),
    ]
    right = width + (_LANE_LEFT + _LANE_GAP * max(lanes.values()) + 4 if lanes else 0)
    right = max(right, *(size_of(_entry_lines(entry)).width for entry in key), 0)
    heading_lines = [TextLine("heading", part) for part in wrap_label(heading, _TITLE_COLUMNS)]
    size = Size(right, rects[-1].bottom)
    text = describe_diagram(boxes, group_labels(arrows))
    return document(title, text, heading_lines, size, elements, _MARGIN)


def shortened(text: str, columns: int) -> str:
    """A text without its middle, where it is longer than so many characters.

    Examples:
        >>> shortened("encoder.layer.11.output", 15)
        'encoder….output'
    """
    if len(text) <= columns:
        return text
    tail = (columns - 1) // 2
    return f"{text[: columns - 1 - tail]}…{text[len(text) - tail :]}"


def _in_order(boxes: Sequence[Box], arrows: Sequence[Arrow]) -> list[Box]:
    """The boxes in the order in which they run; where that is free, as they are."""
    sorter = TopologicalSorter({box.key: set[str]() for box in boxes})
    for arrow in arrows:
        sorter.add(arrow.target, arrow.source)
    try:
        sorter.prepare()
    except CycleError as error:
        raise DiagramError("arrows", expected="no cycle", got=" to ".join(error.args[1])) from error
    places = {box.key: place for place, box in enumerate(boxes)}
    ready: list[int] = []
    order: list[int] = []
    while sorter.is_active():
        ready = sorted([*ready, *(places[name] for name in sorter.get_ready())])
        order.append(ready.pop(0))
        sorter.done(boxes[order[-1]].key)
    return [boxes[place] for place in order]


def _names(boxes: Sequence[Box]) -> list[str]:
    """What a label calls each box: the number of a step, the title of an input or output."""
    steps = [box.kind in ("segment", "host") for box in boxes]
    counts = accumulate(map(int, steps))
    return [
        str(count) if step else shortened(box.title, _COLUMNS // 2)
        for box, step, count in zip(boxes, steps, counts, strict=True)
    ]


def _flows(boxes: Sequence[Box], arrows: Sequence[Arrow]) -> list[_Flow]:
    places = {box.key: place for place, box in enumerate(boxes)}
    groups: dict[tuple[int, str], list[Arrow]] = {}
    for arrow in arrows:
        groups.setdefault((places[arrow.source], arrow.label), []).append(arrow)
    flows = [
        _Flow(
            label,
            source,
            tuple(sorted({places[arrow.target] for arrow in group})),
            "\n".join(dict.fromkeys(arrow.tooltip for arrow in group if arrow.tooltip)),
        )
        for (source, label), group in groups.items()
    ]
    return sorted(flows, key=lambda flow: (flow.source, flow.end))  # the nearest first


def _assign_lanes(flows: Sequence[_Flow]) -> dict[_Flow, int]:
    """The lane of each tensor that goes further than to the next box, the shortest inside."""
    lanes: dict[_Flow, int] = {}
    far = [flow for flow in flows if flow.far]
    for flow in sorted(far, key=lambda flow: (flow.end - flow.source, flow.source)):
        taken = {
            lane
            for other, lane in lanes.items()
            if other.source < flow.end and flow.source < other.end
        }
        lanes[flow] = next(lane for lane in range(len(far)) if lane not in taken)
    return lanes


def _assign_ports(lanes: Mapping[_Flow, int], place: int) -> _Ports:
    """Inner lanes arrive above outer ones and leave below them: they do not cross at a box."""
    arriving = sorted(lane for flow, lane in lanes.items() if place in flow.far)
    leaving = sorted(lane for flow, lane in lanes.items() if flow.source == place)
    heights = [_PORT_INSET + _PORT_GAP * index for index in range(max(len(arriving), len(leaving)))]
    return _Ports(
        dict(zip(arriving, heights, strict=False)), dict(zip(leaving, heights, strict=False))
    )


def _box_lines(box: Box, name: str) -> list[TextLine]:
    step = box.kind in ("segment", "host")
    title = wrap_label(shortened(box.title, 2 * _TITLE_COLUMNS), _TITLE_COLUMNS)
    if step:
        title = [f"{name}  {title[0]}", *(" " * len(f"{name}  ") + part for part in title[1:])]
    kind = [] if box.kind == "segment" and box.colour else [TextLine("kind", box.kind)]
    return [*kind, *(TextLine("name", part) for part in title), *box_details(box, _COLUMNS)]


def _label_lines(flows: Sequence[_Flow], place: int, names: Sequence[str]) -> list[TextLine]:
    return [line for flow in flows if flow.source == place for line in _flow_lines(flow, names)]


def _flow_lines(flow: _Flow, names: Sequence[str]) -> list[TextLine]:
    """The label of a tensor, with the boxes that read it where it is not the next one alone."""
    first, *others = flow.label.split("\n")
    targets = f", {_listed([names[target] for target in flow.targets])}" if flow.far else ""
    return [
        *(TextLine("line", part) for part in wrap_label(first + targets, _COLUMNS)),
        *(TextLine("kind", part) for line in others for part in wrap_label(line, _COLUMNS)),
    ]


def _listed(names: Sequence[str]) -> str:
    """Such as ``to 2, 4 and 6``; a short one is not broken into two lines."""
    *others, last = names
    text = f"to {', '.join(others)} and {last}" if others else f"to {last}"
    return text.replace(" ", NO_BREAK_SPACE) if len(text) < _COLUMNS else text


def _width(texts: Sequence[Sequence[TextLine]], labels: Sequence[Sequence[TextLine]]) -> float:
    inside = max(size_of(lines, pad=True).width for lines in texts)
    between = max(size_of(lines).width for lines in labels) + _LABEL_LEFT
    return max(inside, between, _MIN_WIDTH)


def _place(
    texts: Sequence[Sequence[TextLine]],
    labels: Sequence[Sequence[TextLine]],
    ports: Sequence[_Ports],
    width: float,
    top: float,
) -> list[Rect]:
    rects: list[Rect] = []
    for lines, below, ends in zip(texts, labels, ports, strict=True):
        height = max(size_of(lines, pad=True).height, ends.height)
        rects.append(Rect(0.0, top, width, height))
        top += height + max(_MIN_GAP, size_of(below).height + 2 * _GAP_PADDING)
    return rects


def _draw_entry(entry: KeyEntry, index: int) -> list[str]:
    rect = Rect(0.0, (_SWATCH.height + 8) * index, _SWATCH.width, _SWATCH.height)
    lines = _entry_lines(entry)
    text = Rect(_SWATCH.width + 6, rect.top, size_of(lines).width, _SWATCH.height)
    outline = box_outline("segment", rect, entry.colour)
    return [outline, engine_band(entry.colour, rect), text_block(lines, text)]


def _entry_lines(entry: KeyEntry) -> list[TextLine]:
    return [TextLine("engine", f"{shortened(entry.engine, 20)} {entry.text}")]


def _draw_lane(flow: _Flow, lane: int, rects: Sequence[Rect], ports: Sequence[_Ports]) -> str:
    source = rects[flow.source]
    start = source.right, source.bottom - ports[flow.source].leaving[lane]
    ends = [
        (rects[target].right, rects[target].top + ports[target].arriving[lane])
        for target in flow.far
    ]
    x = source.right + _LANE_LEFT + _LANE_GAP * lane
    return with_tooltip(flow.tooltip or flow.label, [lane_path(start, x, ends)])


def _draw_arrow(upper: Rect, lower: Rect, flows: Sequence[_Flow], place: int) -> str:
    between = [flow for flow in flows if flow.source == place and place + 1 in flow.targets]
    tooltip = "\n".join(dict.fromkeys(flow.tooltip for flow in between if flow.tooltip))
    path = arrow_path([(_ARROW_LEFT, upper.bottom), (_ARROW_LEFT, lower.top)])
    return with_tooltip(tooltip, [path])


def _draw_box(box: Box, rect: Rect, lines: Sequence[TextLine]) -> str:
    inside = Rect(rect.left + _BOX_LEFT, rect.top, rect.width, rect.height)
    band = [engine_band(box.colour, rect)] if box.colour else []
    outline = box_outline(box.kind, rect, box.colour)
    return with_tooltip(box.tooltip, [outline, *band, text_block(lines, inside)])


def _draw_labels(flows: Sequence[_Flow], place: int, names: Sequence[str], rect: Rect) -> str:
    """The tensors that leave a box, below it, each with its own tooltip."""
    elements, top = [], rect.bottom + _GAP_PADDING
    for flow in (flow for flow in flows if flow.source == place):
        lines = _flow_lines(flow, names)
        height = sum(line.size.height for line in lines)
        text = text_block(lines, Rect(_LABEL_LEFT, top, 0.0, height))
        elements.append(with_tooltip(flow.tooltip, [text]))
        top += height
    return "\n".join(elements)
