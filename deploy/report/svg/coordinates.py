"""The order and the x of the cells of a layered diagram; lengths are in pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, combinations, pairwise
from statistics import fmean

_GAP, _TIGHT = 20.0, 8.0  # between two neighbours in a layer, and at least to get an arrow straight


_STIFF = 8.0  # how much more an arrow minds to bend on its way than at a box


_ORDERINGS, _ROUGH, _FINE = 12, 2, 150


@dataclass(eq=False)
class LayoutNode:
    """What stands in a layer: a box, or an arrow on its way; ``x`` is where arrows meet it.

    It is linked to cells ``above`` and ``below``, and wants to be ``near`` others: a box near
    those that it is linked to, and a part of an arrow near all the rest of the arrow.
    """

    layer: int
    left: float
    right: float
    height: float
    is_box: bool = False
    x: float = 0.0
    above: list[LayoutNode] = field(default_factory=list)
    below: list[LayoutNode] = field(default_factory=list)
    near: list[LayoutNode] = field(default_factory=list)


Layers = list[list[LayoutNode]]


Side = Callable[[LayoutNode], list[LayoutNode]]


def _above(cell: LayoutNode) -> list[LayoutNode]:
    return cell.above


def _below(cell: LayoutNode) -> list[LayoutNode]:
    return cell.below


def _near(cell: LayoutNode) -> list[LayoutNode]:
    return cell.near


def reduce_crossings(layers: Layers) -> Layers:
    """The layers with each cell near the middle of its neighbours, so that few arrows cross."""
    best, fewest = layers, _crossings(layers)
    for turn in range(_ORDERINGS):
        layers = [list(layer) for layer in layers]
        _sweep(layers, _below if turn % 2 else _above, _sort)
        crossings = _crossings(layers)
        if crossings < fewest:
            best, fewest = layers, crossings
    return best


def assign_coordinates(layers: Layers, ways: Sequence[Sequence[LayoutNode]]) -> None:
    """Give every cell its ``x``: apart from its neighbours, and else as straight as may be.

    The leftmost cell begins at 0.
    """
    for turn in range(_ROUGH):
        _sweep(layers, _below if turn % 2 else _above, _spread)
    for _ in range(_FINE):
        _sweep(layers, _near, _spread)
    for way in ways:
        _straighten(layers, way[1:-1])
    start = min(cell.x - cell.left for layer in layers for cell in layer)
    for layer in layers:
        for cell in layer:
            cell.x -= start


def isotonic_spacing(
    wishes: Sequence[float], gaps: Sequence[float], weights: Sequence[float]
) -> list[float]:
    """The places nearest to the wishes, by weighted least squares, at least the gaps apart.

    This is isotonic regression, solved by pooling neighbours that want to pass each other.
    """
    offsets = list(accumulate(gaps, initial=0.0))
    pools: list[tuple[float, float, int]] = []
    for wish, offset, weight in zip(wishes, offsets, weights, strict=True):
        pools.append((wish - offset, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            pools[-2:] = [_pooled(*pools[-2], *pools[-1])]
    places = [place for place, _, count in pools for _ in range(count)]
    return [place + offset for place, offset in zip(places, offsets, strict=True)]


def _pooled(
    a: float, heavy_a: float, count_a: int, b: float, heavy_b: float, count_b: int
) -> tuple[float, float, int]:
    heavy = heavy_a + heavy_b
    return (a * heavy_a + b * heavy_b) / heavy, heavy, count_a + count_b


def _sweep(layers: Layers, side: Side, act: Callable[[Layers, int, Side], None]) -> None:
    indices = range(len(layers))
    for index in reversed(indices) if side is _below else indices:
        act(layers, index, side)


def _positions(layers: Layers) -> dict[LayoutNode, int]:
    return {cell: place for layer in layers for place, cell in enumerate(layer)}


def _sort(layers: Layers, index: int, side: Side) -> None:
    places = _positions(layers)
    middles = {
        cell: fmean(places[other] for other in side(cell)) if side(cell) else places[cell]
        for cell in layers[index]
    }
    layers[index].sort(key=middles.__getitem__)


def _crossings(layers: Layers) -> int:
    places = _positions(layers)
    ends = (
        [place for cell in layer for place in sorted(places[other] for other in cell.below)]
        for layer in layers
    )
    return sum(left > right for places in ends for left, right in combinations(places, 2))


def _distance(left: LayoutNode, right: LayoutNode, gap: float = _GAP) -> float:
    return left.right + gap + right.left


def _spread(layers: Layers, index: int, side: Side) -> None:
    layer = layers[index]
    wishes = [_wish(cell, side(cell)) for cell in layer]
    places = isotonic_spacing(
        [wish for wish, _ in wishes],
        [_distance(left, right) for left, right in pairwise(layer)],
        [weight for _, weight in wishes],
    )
    for cell, place in zip(layer, places, strict=True):
        cell.x = place


def _wish(cell: LayoutNode, others: Sequence[LayoutNode]) -> tuple[float, float]:
    """Where the cell wants to be, and how much."""
    weights = [1.0 if cell.is_box or other.is_box else _STIFF for other in others]
    if not others:
        return cell.x, 1 / _STIFF
    return fmean((other.x for other in others), weights), sum(weights)


def _straighten(layers: Layers, lanes: Sequence[LayoutNode]) -> None:
    """Put an arrow's cells exactly below each other, if their neighbours leave the room."""
    low, high = float("-inf"), float("inf")
    for lane in lanes:
        layer = layers[lane.layer]
        place = layer.index(lane)
        if place > 0:
            low = max(low, layer[place - 1].x + _distance(layer[place - 1], lane, _TIGHT))
        if place + 1 < len(layer):
            high = min(high, layer[place + 1].x - _distance(lane, layer[place + 1], _TIGHT))
    if low <= high:
        x = min(max(fmean(lane.x for lane in lanes), low), high)
        for lane in lanes:
            lane.x = x
