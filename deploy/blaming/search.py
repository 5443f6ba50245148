"""Binary search in a graph: the first node from which on something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

_PATIENCE = 8

Nodes = int
"""A set of nodes: bit ``n`` is node ``n``."""


class Found(NamedTuple):
    """Where an error comes from.

    Attributes:
        wrong: a node that gives something wrong.
        others: what it needs and could not be asked about; the error may be theirs.
    """

    wrong: int
    others: tuple[int, ...]


def narrow(
    last: int,
    before: Sequence[Nodes],
    tiers: Sequence[Collection[int]],
    is_good: Callable[[int, Nodes], bool | None],
) -> Found:
    """The first node that gives something wrong, as it shows at ``last``.

    What a node gives is taken to be wrong if anything that it needs is, and right only if all of
    that is. Each question halves what is left, as far as the graph lets it.

    Args:
        last: a node that gives something wrong.
        before: for each node, those that it needs, and itself.
        tiers: the nodes that can be asked about; of a later tier only when an earlier has none.
        is_good: whether a node gives what is right, or None if that cannot be known. It also gets
            what is left.
    """
    wrong, left, patience = last, before[last], _PATIENCE
    open_nodes = [set(tier) - {last} for tier in tiers]
    while patience and (node := _next(left, before, open_nodes)) is not None:
        for tier in open_nodes:
            tier.discard(node)
        good = is_good(node, left)
        if good is None:
            patience -= 1
        elif good:
            left &= ~before[node]
        else:
            wrong, left = node, left & before[node]
    return Found(wrong, tuple(node for node in members(left) if node != wrong))


def members(nodes: Nodes) -> list[int]:
    """The nodes of a set, in order."""
    return [node for node in range(nodes.bit_length()) if nodes >> node & 1]


def _next(left: Nodes, before: Sequence[Nodes], tiers: Sequence[Collection[int]]) -> int | None:
    """The node that halves best what is left, of the first tier with any that divides it."""
    total = left.bit_count()
    for tier in tiers:
        sizes = {node: (left & before[node]).bit_count() for node in tier if left >> node & 1}
        dividing = {node: min(size, total - size) for node, size in sizes.items() if size < total}
        if dividing:
            return max(sorted(dividing), key=dividing.__getitem__)
    return None
