"""Bisection of a graph: the first node that is wrong, by trying what ends with a node."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

_MAX_UNKNOWN = 8  # nodes without an answer, until the search ends

NodeSet = int
"""A set of nodes: bit ``n`` is node ``n``."""


def members(nodes: NodeSet) -> list[int]:
    """The nodes of a set, in order."""
    return [node for node in range(nodes.bit_length()) if nodes >> node & 1]


class SearchResult(NamedTuple):
    """Where an error comes from.

    Attributes:
        wrong: the first node that is wrong.
        unknown: nodes that it needs and that could not be probed; the error may be theirs.
    """

    wrong: int
    unknown: tuple[int, ...]


def narrow_down(
    last: int,
    ancestors: Sequence[NodeSet],
    tiers: Sequence[Collection[int]],
    is_good: Callable[[int, NodeSet], bool | None],
) -> SearchResult:
    """Search for the first wrong node of a graph, given that ``last`` is wrong.

    The search assumes that a node is wrong if any node that it needs is, and right only if all of
    them are. Each probe halves the candidates, as far as the graph allows it.

    Args:
        last: a wrong node.
        ancestors: for each node, those that it needs, and itself.
        tiers: the nodes that can be probed; those of a later tier when no earlier one divides the
            candidates.
        is_good: whether a node is right, or None if that cannot be known. It also gets the
            candidates.
    """
    wrong, candidates, patience = last, ancestors[last], _MAX_UNKNOWN
    open_tiers = [set(tier) - {last} for tier in tiers]
    while patience and (node := _best_probe(candidates, ancestors, open_tiers)) is not None:
        for tier in open_tiers:
            tier.discard(node)
        good = is_good(node, candidates)
        if good is None:
            patience -= 1
        elif good:
            candidates &= ~ancestors[node]
        else:
            wrong, candidates = node, candidates & ancestors[node]
    return SearchResult(wrong, tuple(node for node in members(candidates) if node != wrong))


def _best_probe(
    candidates: NodeSet, ancestors: Sequence[NodeSet], tiers: Sequence[Collection[int]]
) -> int | None:
    """The node that divides the candidates best, of the first tier with any that divides them."""
    total = candidates.bit_count()
    for tier in tiers:
        in_tier = (node for node in tier if candidates >> node & 1)
        sizes = {node: (candidates & ancestors[node]).bit_count() for node in in_tier}
        dividing = {node: min(size, total - size) for node, size in sizes.items() if size < total}
        if dividing:
            return max(sorted(dividing), key=dividing.__getitem__)
    return None
