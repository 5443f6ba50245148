"""Layered layout (Sugiyama) of boxes and labelled edges; every length is in pixels.

The phases of the algorithm, in the order of ``layout_graph``:

1. Layer assignment: each box is below all boxes that it follows (longest path). Between two layers
   of boxes is a layer of labels.
2. Dummy nodes: an edge has one in each layer that it crosses; the first one carries its label.
3. Crossing reduction by barycenters (``coordinates``).
4. Coordinate assignment by isotonic regression (``coordinates``).
5. Ports: where the edges at one side of a box meet it.
6. Edge routing: nodes of one layer never overlap, and edges bend between the layers only, so that
   no edge and no label covers a box.
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

_EDGE_EXTENT = 5.0  # of an edge without a label, to each side
_LABEL_OFFSET = 7.0  # from an edge to its label
_PORT_GAP = 18.0  # between two ports at one side of a box
_PORT_INSET = 18.0  # from a box's corner to its first port
_MIN_LAYER_GAP, _MAX_LAYER_GAP = 24.0, 72.0
_SLOPE = 0.22  # height of the gap between two layers per horizontal distance of an edge


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
    """An edge from one box to another, with the size of its label; (0, 0) is no label."""

    source: str
    target: str
    label: Size


@dataclass(frozen=True)
class Route:
    """The points of an edge, at each of which it is vertical, and the place of its label."""

    points: tuple[Point, ...]
    label: Rect


@dataclass(frozen=True)
class Layout:
    """The whole layout, from (0, 0); ``routes`` are in the order of the edges."""

    size: Size
    boxes: Mapping[str, Rect]
    routes: tuple[Route, ...]


def layout_graph(boxes: Mapping[str, Size], edges: Sequence[Edge]) -> Layout:
    """Place boxes, edges and labels. The same arguments give the same layout.

    Args:
        boxes: the size of each box, at least one; their order from the left where it is free.
        edges: at most one from one box to another, between boxes that exist.

    Raises:
        graphlib.CycleError: the edges have a cycle.
    """
    ranks = _assign_layers(boxes, edges)
    nodes = {
        key: LayoutNode(2 * ranks[key], size.width / 2, size.width / 2, size.height, is_box=True)
        for key, size in boxes.items()
    }
    paths = [_insert_dummies(nodes[edge.source], nodes[edge.target], edge.label) for edge in edges]
    layers: Layers = [[] for _ in range(2 * max(ranks.values()) + 1)]
    for node in [*nodes.values(), *(dummy for path in paths for dummy in path[1:-1])]:
        layers[node.layer].append(node)
    layers = reduce_crossings(layers)
    assign_coordinates(layers, paths)
    return _route(nodes, paths, layers)


def _assign_layers(boxes: Mapping[str, Size], edges: Sequence[Edge]) -> dict[str, int]:
    """The layer of each box among the layers of boxes."""
    before = {key: [edge.source for edge in edges if edge.target == key] for key in boxes}
    ranks: dict[str, int] = {}
    for key in TopologicalSorter(before).static_order():
        ranks[key] = max((ranks[source] + 1 for source in before[key]), default=0)
    for key in boxes:  # a source is right above the first box that follows it
        after = [ranks[edge.target] for edge in edges if edge.source == key]
        if after and not before[key]:
            ranks[key] = min(after) - 1
    return ranks


def _insert_dummies(source: LayoutNode, target: LayoutNode, label: Size) -> list[LayoutNode]:
    """The linked nodes of an edge: its source, a dummy node per layer between, its target."""
    extent = _LABEL_OFFSET + label.width if label.width else _EDGE_EXTENT
    labelled = LayoutNode(source.layer + 1, _EDGE_EXTENT, extent, label.height)
    others = [
        LayoutNode(layer, _EDGE_EXTENT, _EDGE_EXTENT, 0)
        for layer in range(labelled.layer + 1, target.layer)
    ]
    path = [source, labelled, *others, target]
    for upper, lower in pairwise(path):
        upper.below.append(lower)
        lower.above.append(upper)
    source.attracting.append(path[1])
    target.attracting.append(path[-2])
    for dummy in path[1:-1]:
        dummy.attracting = [node for node in path if node is not dummy]
    return path


Ports = Mapping[tuple[LayoutNode, LayoutNode], float]
"""The x where a box meets the edge to or from a neighbouring node."""


Bands = Sequence[tuple[float, float]]
"""The top and the bottom of each layer."""


def _route(
    boxes: Mapping[str, LayoutNode], paths: Sequence[Sequence[LayoutNode]], layers: Layers
) -> Layout:
    ports = {
        (box, neighbour): x
        for box in boxes.values()
        for side in (box.above, box.below)
        if side
        for neighbour, x in _assign_ports(box, side).items()
    }
    bands = _bands(layers, ports)
    width = max(node.x + node.right for layer in layers for node in layer)
    return Layout(
        Size(width, bands[-1][1]),
        {key: _rect(node, -node.left, bands) for key, node in boxes.items()},
        tuple(
            Route(_points(path, bands, ports), _rect(path[1], _LABEL_OFFSET, bands))
            for path in paths
        ),
    )


def _assign_ports(box: LayoutNode, side: Sequence[LayoutNode]) -> dict[LayoutNode, float]:
    """The x of each edge at one side of a box, as near as possible to the edge's other node."""
    neighbours = sorted(side, key=lambda node: node.x)
    room = box.left + box.right - 2 * _PORT_INSET
    gap = min(_PORT_GAP, room / max(1, len(neighbours) - 1))
    low = box.x - box.left + _PORT_INSET
    high = box.x + box.right - _PORT_INSET - gap * (len(neighbours) - 1)
    targets = [
        min(max(node.x - gap * index, low), high) + gap * index
        for index, node in enumerate(neighbours)
    ]
    xs = isotonic_spacing(targets, [gap] * (len(neighbours) - 1), [1.0] * len(neighbours))
    return dict(zip(neighbours, xs, strict=True))


def _bands(layers: Layers, ports: Ports) -> Bands:
    bands: list[tuple[float, float]] = []
    top = 0.0
    for layer in layers:
        bottom = top + max(node.height for node in layer)
        bands.append((top, bottom))
        distances = (
            abs(ports.get((node, lower), node.x) - ports.get((lower, node), lower.x))
            for node in layer
            for lower in node.below
        )
        gap = _SLOPE * max(distances, default=0.0)
        top = bottom + min(max(gap, _MIN_LAYER_GAP), _MAX_LAYER_GAP)
    return bands


def _rect(node: LayoutNode, start: float, bands: Bands) -> Rect:
    """The box or the label of a node, from ``start`` relative to its x."""
    top, bottom = bands[node.layer]
    middle = (top + bottom) / 2
    width = max(0.0, node.right - start)  # 0 at a dummy node without a label
    return Rect(node.x + start, middle - node.height / 2, width, node.height)


def _points(path: Sequence[LayoutNode], bands: Bands, ports: Ports) -> tuple[Point, ...]:
    segments = [
        (
            (ports.get((upper, lower), upper.x), bands[upper.layer][1]),
            (ports.get((lower, upper), lower.x), bands[lower.layer][0]),
        )
        for upper, lower in pairwise(path)
    ]
    source, target = _rect(path[0], 0, bands), _rect(path[-1], 0, bands)
    start, end = (segments[0][0][0], source.bottom), (segments[-1][1][0], target.top)
    return tuple(dict.fromkeys([start, *(point for pair in segments for point in pair), end]))
