"""A region that fails in its engine -> the nodes of it that the engine shall not have.

Where the converter names the nodes, these are they. Otherwise parts of the region are tried, each
half the size of the one before, as in the search for the node that makes a bundle inaccurate.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_

from backends.bisection import NodeSet, members, narrow_down
from backends.contract import ConversionError, DisagreementError
from deploy.placement.operator_graph import OperatorGraph
from deploy.placement.plan import EngineAnswers
from deploy.placement.split import region_boundary

_LONGEST = 240  # characters of a reason

TryPart = Callable[[Sequence[int], Sequence[int]], ConversionError | None]
"""Convert and verify some nodes, with these tensors as outputs: what failed, or None.

It raises ``SpentError`` where no more parts may be tried.
"""


class SpentError(Exception):
    """No more parts may be tried."""


@dataclass(frozen=True)
class FailingNodes:
    """What the search found.

    Attributes:
        reasons: why the engine shall not have a node, by the node's number.
        complete: whether these nodes are to blame; otherwise they are all of the region.
    """

    reasons: Mapping[int, str]
    complete: bool = True


def failing_nodes(
    graph: OperatorGraph,
    answers: EngineAnswers,
    nodes: Collection[int],
    error: ConversionError,
    try_part: TryPart,
) -> FailingNodes:
    """The nodes of a region that make it fail.

    Args:
        graph: the graph.
        answers: of the engine.
        nodes: of the region.
        error: how it failed.
        try_part: tries parts of it.
    """
    named = _named_nodes(graph, nodes, error)
    if named:
        return FailingNodes(named)
    search = _Search(graph, answers, sorted(nodes), try_part)
    try:
        found = search.run(error)
    except SpentError:
        found = None
    if found is not None:
        return FailingNodes(found)
    reason = f"{short_reason(error)}; no smaller part of it shows where"
    return FailingNodes(dict.fromkeys(nodes, reason), complete=False)


def short_reason(error: ConversionError) -> str:
    """The first line of an error without what repeats the names of segment and engine."""
    line = str(error).strip().splitlines()[0]
    if line.startswith("cannot convert segment "):
        line = line.partition(": ")[2] or line
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _named_nodes(
    graph: OperatorGraph, nodes: Collection[int], error: ConversionError
) -> dict[int, str]:
    reasons = {node.output: node.reason for node in error.refused if node.output}
    return {
        number: reasons[name]
        for number in sorted(nodes)
        for name in reversed((graph.nodes[number].output, *graph.nodes[number].constants))
        if name in reasons
    }


@dataclass
class _Search:
    graph: OperatorGraph
    answers: EngineAnswers
    nodes: Sequence[int]
    try_part: TryPart
    ancestors: list[NodeSet] = field(init=False)
    """For each node of the region, by its place there, those that it needs there, and itself."""

    def __post_init__(self) -> None:
        places = {node: place for place, node in enumerate(self.nodes)}
        self.ancestors = []
        for place, node in enumerate(self.nodes):
            before = (places[p] for p in self.graph.predecessors(node) if p in places)
            self.ancestors.append(reduce(or_, (self.ancestors[p] for p in before), 1 << place))

    def run(self, error: ConversionError) -> dict[int, str] | None:
        """The wrong node with those like it; None where no part shows the failure."""
        last = self._last_wrong(error)
        if last is None:
            return None
        errors: dict[int, ConversionError] = {}

        def is_good(place: int, _: NodeSet) -> bool | None:
            ends = self._ends(place)
            if not ends:
                return None
            failure = self._try(members(self.ancestors[place]), ends)
            if failure is not None:
                errors[place] = failure
            return failure is None

        wrong = narrow_down(last, self.ancestors, [range(len(self.nodes))], is_good).wrong
        failure = errors.get(wrong, error)
        node = self.nodes[wrong]
        own = self._alone(wrong)
        if own is None:
            return {node: f"{short_reason(failure)}, together with what it needs"}
        reason = short_reason(own)
        like = self.graph.nodes[node].signature
        return {
            number: reason if number == node else f"like {self.graph.nodes[node].label}: {reason}"
            for number in self.nodes
            if number == node or (like and self.graph.nodes[number].signature == like)
        }

    def _last_wrong(self, error: ConversionError) -> int | None:
        """A node that is wrong together with all that it needs."""
        if isinstance(error, DisagreementError):
            for place, node in enumerate(self.nodes):
                written = (self.graph.tensors[t].name for t in self.graph.nodes[node].writes)
                if error.tensor in written:
                    return place
        boundary = region_boundary(self.graph, self.nodes)
        producers = {self.graph.tensors[end].producer for end in boundary.ends}
        lasts = [place for place, node in enumerate(self.nodes) if node in producers]
        if len(lasts) == 1:
            return lasts[0]
        for place in lasts:
            ends = self._ends(place)
            if ends and self._try(members(self.ancestors[place]), ends) is not None:
                return place
        return None

    def _alone(self, place: int) -> ConversionError | None:
        """How a node fails without the others, if it does and can be tried."""
        starts = self.graph.nodes[self.nodes[place]].reads
        ends = self._ends(place)
        legal = all(
            self.graph.tensors[t].spec is not None and t not in self.answers.borders for t in starts
        )
        return self._try([place], ends) if ends and legal else None

    def _ends(self, place: int) -> list[int]:
        """The tensors of a node that a segment of the engine may end with; none if one may not."""
        written = self.graph.nodes[self.nodes[place]].writes
        may = [
            tensor
            for tensor in written
            if self.graph.tensors[tensor].spec is not None and tensor not in self.answers.borders
        ]
        return may if len(may) == len(written) else []

    def _try(self, places: Sequence[int], ends: Sequence[int]) -> ConversionError | None:
        return self.try_part([self.nodes[place] for place in places], ends)
