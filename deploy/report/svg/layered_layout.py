"""Where the boxes, arrows and labels of a layered diagram go; every length is in pixels.

Boxes stand in layers, each below everything that it follows (longest path). Between two layers of
boxes is a layer of labels; an arrow takes one cell in each layer that it passes: first its label,
then bare lanes. Cells of one layer never overlap and arrows bend between the layers alone, so that
no arrow and no label runs into a box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import pairwise

from deploy.report.svg.coordinates import (
    Layers,
    LayoutNode,
    assign_coordinates,
    isotonic_spacing,
    reduce_crossings,
)

Point = tuple[float, float]


_LANE = 5.0  # half of what a bare arrow takes


_BESIDE = 7.0  # from an arrow to its label


_PORT, _CORNER = 18.0, 18.0  # between two arrows at one side of a box; from the box's corner


_SHORTEST, _LONGEST, _STEEP = 24.0, 72.0, 0.22  # a gap between layers, by how far arrows go across


@dataclass(frozen=True)
class Size:
    """A width and a height."""

    width: float
    height: float


@dataclass(frozen=True)
class Rect:
    """A placed rectangle; y grows downwards."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """The largest x."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """The largest y."""
        return self.top + self.height

    def overlaps(self, other: Rect) -> bool:
        """Whether the two share an area."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


@dataclass(frozen=True)
class Edge:
    """An arrow from one box to another, with the size of its label; (0, 0) is no label."""

    source: str
    target: str
    label: Size


@dataclass(frozen=True)
class Route:
    """An arrow's points, at each of which it goes straight down, and its label's place."""

    points: tuple[Point, ...]
    label: Rect


@dataclass(frozen=True)
class Layout:
    """The whole picture, from (0, 0); ``routes`` are in the order of the edges."""

    size: Size
    boxes: Mapping[str, Rect]
    routes: tuple[Route, ...]


def layout_graph(boxes: Mapping[str, Size], edges: Sequence[Edge]) -> Layout:
    """Place boxes, arrows and labels.

    Args:
        boxes: the size of each box, at least one; where it is free, their order from the left.
        edges: at most one from one box to another, between boxes that exist.

    Raises:
        graphlib.CycleError: the edges go round.
    """
    ranks = _ranks(boxes, edges)
    cells = {
        key: LayoutNode(2 * ranks[key], size.width / 2, size.width / 2, size.height, is_box=True)
        for key, size in boxes.items()
    }
    ways = [_way(cells[edge.source], cells[edge.target], edge.label) for edge in edges]
    layers: Layers = [[] for _ in range(2 * max(ranks.values()) + 1)]
    for cell in [*cells.values(), *(cell for way in ways for cell in way[1:-1])]:
        layers[cell.layer].append(cell)
    layers = reduce_crossings(layers)
    assign_coordinates(layers, ways)
    return _drawn(cells, ways, layers)


def _ranks(boxes: Mapping[str, Size], edges: Sequence[Edge]) -> dict[str, int]:
    before = {key: [edge.source for edge in edges if edge.target == key] for key in boxes}
    ranks: dict[str, int] = {}
    for key in TopologicalSorter(before).static_order():
        ranks[key] = max((ranks[source] + 1 for source in before[key]), default=0)
    for key in boxes:  # a box that follows nothing stands right above the first that follows it
        after = [ranks[edge.target] for edge in edges if edge.source == key]
        if after and not before[key]:
            ranks[key] = min(after) - 1
    return ranks


def _way(source: LayoutNode, target: LayoutNode, label: Size) -> list[LayoutNode]:
    """The arrow's cells, linked: the two boxes, and between them its label and lanes."""
    reach = _BESIDE + label.width if label.width else _LANE
    first = LayoutNode(source.layer + 1, _LANE, reach, label.height)
    lanes = [LayoutNode(layer, _LANE, _LANE, 0) for layer in range(first.layer + 1, target.layer)]
    way = [source, first, *lanes, target]
    for upper, lower in pairwise(way):
        upper.below.append(lower)
        lower.above.append(upper)
    source.near.append(way[1])
    target.near.append(way[-2])
    for cell in way[1:-1]:
        cell.near = [other for other in way if other is not cell]
    return way


Ports = Mapping[tuple[LayoutNode, LayoutNode], float]


Bands = Sequence[tuple[float, float]]


def _drawn(
    cells: Mapping[str, LayoutNode], ways: Sequence[Sequence[LayoutNode]], layers: Layers
) -> Layout:
    ports = {
        (box, other): x
        for box in cells.values()
        for side in (box.above, box.below)
        if side
        for other, x in _ports(box, side).items()
    }
    bands = _bands(layers, ports)
    width = max(cell.x + cell.right for layer in layers for cell in layer)
    return Layout(
        Size(width, bands[-1][1]),
        {key: _rect(cell, -cell.left, bands) for key, cell in cells.items()},
        tuple(Route(_points(way, bands, ports), _rect(way[1], _BESIDE, bands)) for way in ways),
    )


def _ports(box: LayoutNode, side: Sequence[LayoutNode]) -> dict[LayoutNode, float]:
    """Where each arrow at one side of a box meets it: as near as may be to where it comes from."""
    others = sorted(side, key=lambda cell: cell.x)
    room = box.left + box.right - 2 * _CORNER
    step = min(_PORT, room / max(1, len(others) - 1))
    low = box.x - box.left + _CORNER
    high = box.x + box.right - _CORNER - step * (len(others) - 1)
    wishes = [
        min(max(other.x - step * index, low), high) + step * index
        for index, other in enumerate(others)
    ]
    xs = isotonic_spacing(wishes, [step] * (len(others) - 1), [1.0] * len(others))
    return dict(zip(others, xs, strict=True))


def _bands(layers: Layers, ports: Ports) -> Bands:
    """The top and the bottom of each layer."""
    bands: list[tuple[float, float]] = []
    top = 0.0
    for layer in layers:
        bottom = top + max(cell.height for cell in layer)
        bands.append((top, bottom))
        across = (
            abs(ports.get((cell, other), cell.x) - ports.get((other, cell), other.x))
            for cell in layer
            for other in cell.below
        )
        top = bottom + min(max(_STEEP * max(across, default=0.0), _SHORTEST), _LONGEST)
    return bands


def _rect(cell: LayoutNode, start: float, bands: Bands) -> Rect:
    """What the cell shows, from ``start`` beside its x."""
    top, bottom = bands[cell.layer]
    middle = (top + bottom) / 2
    width = max(0.0, cell.right - start)  # a bare arrow shows nothing
    return Rect(cell.x + start, middle - cell.height / 2, width, cell.height)


def _points(way: Sequence[LayoutNode], bands: Bands, ports: Ports) -> tuple[Point, ...]:
    ends = [
        (
            (ports.get((upper, lower), upper.x), bands[upper.layer][1]),
            (ports.get((lower, upper), lower.x), bands[lower.layer][0]),
        )
        for upper, lower in pairwise(way)
    ]
    first, last = _rect(way[0], 0, bands), _rect(way[-1], 0, bands)
    start, end = (ends[0][0][0], first.bottom), (ends[-1][1][0], last.top)
    return tuple(dict.fromkeys([start, *(point for pair in ends for point in pair), end]))
