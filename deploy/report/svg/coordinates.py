"""Crossing reduction and coordinate assignment of a layered layout; lengths are in pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, combinations, pairwise
from statistics import fmean

_NODE_GAP = 20.0  # between two neighbours in a layer
_MIN_GAP = 8.0  # the same where that makes a long edge straight
_STRAIGHTNESS = 8.0  # weight of an edge between two dummy nodes; at a box it is 1
_ORDER_SWEEPS, _ROUGH_SWEEPS, _FINE_SWEEPS = 12, 2, 150


@dataclass(eq=False)
class LayoutNode:
    """A node in a layer: a box, or a dummy node where an edge crosses the layer.

    Attributes:
        layer: index of the layer, from the top.
        left: extent to the left of ``x``.
        right: extent to the right of ``x``.
        height: of the box, or of the label at a dummy node.
        is_box: whether it is a box.
        x: the coordinate where edges meet the node; set by ``assign_coordinates``.
        above: neighbours in the layer above.
        below: neighbours in the layer below.
        attracting: nodes whose mean ``x`` is the best one for this node: for a box its neighbours,
            for a dummy node all other nodes of its edge.
    """

    layer: int
    left: float
    right: float
    height: float
    is_box: bool = False
    x: float = 0.0
    above: list[LayoutNode] = field(default_factory=list)
    below: list[LayoutNode] = field(default_factory=list)
    attracting: list[LayoutNode] = field(default_factory=list)


Layers = list[list[LayoutNode]]
"""The nodes of each layer from left to right."""


Neighbours = Callable[[LayoutNode], list[LayoutNode]]


def _above(node: LayoutNode) -> list[LayoutNode]:
    return node.above


def _below(node: LayoutNode) -> list[LayoutNode]:
    return node.below


def _attracting(node: LayoutNode) -> list[LayoutNode]:
    return node.attracting


def reduce_crossings(layers: Layers) -> Layers:
    """The layers with their nodes in an order of few edge crossings.

    The barycenter heuristic: sweeps down and up sort each layer by the mean position of the
    neighbours in the layer before; the order with the fewest crossings is the result.
    """
    best, fewest = layers, _count_crossings(layers)
    for sweep in range(_ORDER_SWEEPS):
        layers = [list(layer) for layer in layers]
        _sweep(layers, _below if sweep % 2 else _above, _sort_by_barycenter)
        crossings = _count_crossings(layers)
        if crossings < fewest:
            best, fewest = layers, crossings
    return best


def assign_coordinates(layers: Layers, edges: Sequence[Sequence[LayoutNode]]) -> None:
    """Set ``x`` of every node: no overlaps in a layer, and edges as straight as possible.

    Each sweep moves every layer to the weighted least-squares optimum for its neighbours. The
    leftmost node begins at 0.

    Args:
        layers: in their final order.
        edges: the nodes of each edge from its source to its target.
    """
    for sweep in range(_ROUGH_SWEEPS):
        _sweep(layers, _below if sweep % 2 else _above, _place_layer)
    for _ in range(_FINE_SWEEPS):
        _sweep(layers, _attracting, _place_layer)
    for edge in edges:
        _straighten(layers, edge[1:-1])
    start = min(node.x - node.left for layer in layers for node in layer)
    for layer in layers:
        for node in layer:
            node.x -= start


def isotonic_spacing(
    targets: Sequence[float], gaps: Sequence[float], weights: Sequence[float]
) -> list[float]:
    """The positions nearest to the targets by weighted least squares, at least the gaps apart.

    Isotonic regression, solved by the pool adjacent violators algorithm.

    Args:
        targets: of each position, in order.
        gaps: least distance from each position to the next.
        weights: of each target.

    Examples:
        >>> isotonic_spacing([0.0, 0.0], [10.0], [1.0, 1.0])
        [-5.0, 5.0]
    """
    offsets = list(accumulate(gaps, initial=0.0))
    pools: list[tuple[float, float, int]] = []  # mean, weight and size
    for target, offset, weight in zip(targets, offsets, weights, strict=True):
        pools.append((target - offset, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            pools[-2:] = [_merged_pool(*pools[-2], *pools[-1])]
    means = [mean for mean, _, size in pools for _ in range(size)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _merged_pool(
    mean_a: float, weight_a: float, size_a: int, mean_b: float, weight_b: float, size_b: int
) -> tuple[float, float, int]:
    weight = weight_a + weight_b
    return (mean_a * weight_a + mean_b * weight_b) / weight, weight, size_a + size_b


def _sweep(
    layers: Layers, neighbours: Neighbours, visit: Callable[[Layers, int, Neighbours], None]
) -> None:
    """Visit every layer, from the bottom where the neighbours are below, else from the top."""
    indices = range(len(layers))
    for index in reversed(indices) if neighbours is _below else indices:
        visit(layers, index, neighbours)


def _positions(layers: Layers) -> dict[LayoutNode, int]:
    return {node: position for layer in layers for position, node in enumerate(layer)}


def _sort_by_barycenter(layers: Layers, index: int, neighbours: Neighbours) -> None:
    positions = _positions(layers)
    barycenters = {
        node: fmean(positions[other] for other in neighbours(node))
        if neighbours(node)
        else positions[node]
        for node in layers[index]
    }
    layers[index].sort(key=barycenters.__getitem__)


def _count_crossings(layers: Layers) -> int:
    positions = _positions(layers)
    targets = (
        [place for node in layer for place in sorted(positions[other] for other in node.below)]
        for layer in layers
    )
    return sum(left > right for places in targets for left, right in combinations(places, 2))


def _distance(left: LayoutNode, right: LayoutNode, gap: float = _NODE_GAP) -> float:
    return left.right + gap + right.left


def _place_layer(layers: Layers, index: int, neighbours: Neighbours) -> None:
    layer = layers[index]
    targets = [_target(node, neighbours(node)) for node in layer]
    positions = isotonic_spacing(
        [x for x, _ in targets],
        [_distance(left, right) for left, right in pairwise(layer)],
        [weight for _, weight in targets],
    )
    for node, x in zip(layer, positions, strict=True):
        node.x = x


def _target(node: LayoutNode, neighbours: Sequence[LayoutNode]) -> tuple[float, float]:
    """The best ``x`` of a node for its neighbours, and its weight."""
    if not neighbours:
        return node.x, 1 / _STRAIGHTNESS
    weights = [1.0 if node.is_box or other.is_box else _STRAIGHTNESS for other in neighbours]
    return fmean((other.x for other in neighbours), weights), sum(weights)


def _straighten(layers: Layers, dummies: Sequence[LayoutNode]) -> None:
    """Give the dummy nodes of an edge one ``x``, if their neighbours in the layers allow it."""
    low, high = float("-inf"), float("inf")
    for dummy in dummies:
        layer = layers[dummy.layer]
        position = layer.index(dummy)
        if position > 0:
            left = layer[position - 1]
            low = max(low, left.x + _distance(left, dummy, _MIN_GAP))
        if position + 1 < len(layer):
            right = layer[position + 1]
            high = min(high, right.x - _distance(dummy, right, _MIN_GAP))
    if low <= high:
        x = min(max(fmean(dummy.x for dummy in dummies), low), high)
        for dummy in dummies:
            dummy.x = x
