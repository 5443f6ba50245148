"""What an engine's own parser takes of a segment, before anything is built."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_SHOWN = 8  # refused nodes, and groups of the others


@dataclass(frozen=True)
class RefusedNode:
    """A node that an engine, its parser or its converter does not take.

    Attributes:
        node: its name in the graph, or its number where it has none; or the name of an input of
            the graph. Empty where the graph is refused as a whole.
        operator: of the node; ``input`` for an input of the graph.
        reason: the engine's own words.
        output: the first tensor that it computes, which tells the node from all others of the
            graph, since names of nodes may be missing or used twice. Empty where no node is meant.
    """

    node: str
    operator: str
    reason: str
    output: str = ""

    def __str__(self) -> str:
        """Such as ``Det 'head/det': the parser's words``."""
        return f"{self.operator} '{self.node}': {self.reason}" if self.node else self.reason


@dataclass(frozen=True)
class Support:
    r"""What a parser says of a segment.

    Attributes:
        parser: whose word it is.
        nodes: the number of nodes of the segment.
        refused: the nodes that the parser does not take.
        groups: the names of the nodes that it takes, as the connected subgraphs between these.
        unknown: why there is no answer; empty where there is one.

    Examples:
        >>> det = RefusedNode("det", "Det", "no kernel")
        >>> support = Support("a parser", 3, (det,), (("a", "b"),))
        >>> print("\n".join(support.lines("head")))
        head: a parser refuses 1 of 3 nodes
          Det 'det': no kernel
        and takes, in 1 subgraph:
          a to b (2 nodes)
    """

    parser: str
    nodes: int = 0
    refused: tuple[RefusedNode, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    unknown: str = ""

    def lines(self, segment: str) -> Iterator[str]:
        """The answer for people."""
        if self.unknown:
            yield f"{segment}: not asked: {self.unknown}"
        elif not self.refused:
            yield f"{segment}: {self.parser} takes all {self.nodes} nodes"
        else:
            yield f"{segment}: {self.parser} refuses {len(self.refused)} of {self.nodes} nodes"
            yield from _shortened([str(node) for node in self.refused])
            if self.groups:
                yield f"and takes, in {len(self.groups)} subgraph{'s'[: len(self.groups) != 1]}:"
                yield from _shortened([_span(names) for names in self.groups])


def _span(names: tuple[str, ...]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{names[0]} to {names[-1]} ({len(names)} nodes)"


def _shortened(lines: list[str]) -> Iterator[str]:
    yield from (f"  {line}" for line in lines[:_SHOWN])
    if len(lines) > _SHOWN:
        yield f"  and {len(lines) - _SHOWN} more"
