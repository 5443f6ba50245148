"""The planner: a graph and what engines take of it -> regions, each for one engine.

Each node goes to the first engine that takes it. An engine loses a node where a tensor that it
cannot have at its border would be at one, and nodes of regions that are too small or too many.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from backends.contract import DeployError
from deploy.placement.atoms import Atoms, find_atoms
from deploy.placement.merging import find_merges
from deploy.placement.operator_graph import OperatorGraph
from deploy.placement.plan import Border, EngineAnswers, PlacementPlan, PlanLimits, Region
from deploy.placement.regions import AtomGraph, RegionDraft

_SHOWN = 8  # nodes that an error names


class PlacementError(DeployError):
    """A graph that the preferred engines cannot run together."""


def plan_placement(
    graph: OperatorGraph, engines: Sequence[EngineAnswers], limits: PlanLimits
) -> PlacementPlan:
    """Divide a graph into regions.

    Args:
        graph: the graph.
        engines: the preferred ones in their order, with what each of them takes.
        limits: how finely the graph may be cut.

    Raises:
        PlacementError: no engine takes a node.

    Examples:
        >>> from deploy.placement.operator_graph import GraphNode, GraphTensor
        >>> from backends.contract import TensorSpec
        >>> spec = TensorSpec("t", "float32", (4,))
        >>> tensors = (GraphTensor("x", spec, 16, None, (0,)), GraphTensor("h", spec, 16, 0, (1,)),
        ...            GraphTensor("y", spec, 16, 1, (), is_output=True))
        >>> nodes = (GraphNode("h", "Conv", "Conv 'a'", (0,), (1,)),
        ...          GraphNode("y", "Det", "Det 'b'", (1,), (2,)))
        >>> fast = EngineAnswers("fast", refused={1: "it has no kernel"})
        >>> plan = plan_placement(OperatorGraph(nodes, tensors), [fast, EngineAnswers("general")],
        ...                       PlanLimits(min_nodes=1, min_macs_per_byte=0))
        >>> plan.regions, plan.borders[0].reason
        ((Region(engine=0, nodes=(0,)), Region(engine=1, nodes=(1,))), 'it has no kernel')
    """
    planner = _Planner(graph, engines, limits)
    draft = planner.run()
    return planner.result(draft)


@dataclass
class _Planner:
    graph: OperatorGraph
    engines: Sequence[EngineAnswers]
    limits: PlanLimits
    atoms: Atoms = field(init=False)
    edges: AtomGraph = field(init=False)
    refused: list[dict[int, str]] = field(init=False)
    """For each engine, why it does not take an atom."""
    given_up: list[dict[int, str]] = field(init=False)
    """For each engine, why it does not have an atom that it takes."""
    engine_of: list[int] = field(init=False)
    banned: frozenset[int] = field(init=False)
    """The tensors that some engine cannot have at a border."""

    def __post_init__(self) -> None:
        self.atoms = find_atoms(self.graph)
        self.edges = AtomGraph(self.graph, self.atoms)
        self.banned = frozenset(tensor for engine in self.engines for tensor in engine.borders)
        self.refused = [{} for _ in self.engines]
        self.given_up = [{} for _ in self.engines]
        for answers, refused in zip(self.engines, self.refused, strict=True):
            for node, reason in sorted(answers.refused.items()):
                refused.setdefault(self.atoms.of_node[node], reason)
        for answers, given_up in zip(self.engines, self.given_up, strict=True):
            for node, reason in sorted(answers.declined.items()):
                given_up.setdefault(self.atoms.of_node[node], reason)
        self._check_taken()
        self.engine_of = [self._first_engine(atom) for atom in range(len(self.atoms.nodes))]

    def run(self) -> RegionDraft:
        """Draft regions until nothing speaks against them."""
        self._settle_borders(range(len(self.graph.tensors)))
        while True:
            draft = self.edges.draft(self.engine_of)
            if self._refuse_inner_borders(draft) or self._give_up_regions(draft):
                continue
            return draft

    def _check_taken(self) -> None:
        nobody = [
            atom
            for atom in range(len(self.atoms.nodes))
            if all(atom in refused for refused in self.refused)
        ]
        if not nobody:
            return
        firsts = [self.atoms.nodes[atom][0] for atom in nobody]
        operators = Counter(self.graph.nodes[node].operator for node in firsts)
        counted = ", ".join(f"{count} {name}" for name, count in operators.most_common(_SHOWN))
        lines = [
            f"\n  {self.graph.nodes[node].label}: {self._reasons_of(node)}"
            for node in firsts[:_SHOWN]
        ]
        more = [f"\n  and {len(firsts) - _SHOWN} more"] if len(firsts) > _SHOWN else []
        prefer = ", ".join(engine.engine for engine in self.engines)
        raise PlacementError(
            "".join(
                [
                    f"none of the engines {prefer} takes {counted}:",
                    *lines,
                    *more,
                    "\nAdd an engine that takes them to partition.prefer, such as the reference's.",
                ]
            )
        )

    def _reasons_of(self, node: int) -> str:
        atom = self.atoms.of_node[node]
        return "; ".join(
            f"{engine.engine}: {refused[atom]}"
            for engine, refused in zip(self.engines, self.refused, strict=True)
        )

    def _first_engine(self, atom: int) -> int:
        """The first engine that takes an atom and has not given it up, or that takes it at all."""
        takes = [rank for rank, refused in enumerate(self.refused) if atom not in refused]
        if not takes:
            self._check_taken()
        return next((rank for rank in takes if atom not in self.given_up[rank]), takes[0])

    def _settle_borders(self, tensors: Iterable[int]) -> None:
        """Refuse atoms at tensors between engines that one of the two cannot have at a border."""
        pending = deque(number for number in dict.fromkeys(tensors) if number in self.banned)
        waiting = set(pending)
        while pending:
            number = pending.popleft()  # the one that waits longest, so that few come twice
            waiting.remove(number)
            tensor = self.graph.tensors[number]
            at_end = tensor.is_output or tensor.producer is None
            engines = Counter(self.engine_of[atom] for atom in self.edges.touching[number])
            if len(engines) < 2 and not at_end:
                continue
            for atom, rank, reason in list(self._obstacles_at(number)):
                within = max(engines.values()) == engines.total() and not at_end
                if within or self.engine_of[atom] != rank:
                    continue
                self._refuse(atom, rank, reason)
                engines.update({rank: -1, self.engine_of[atom]: 1})
                again = self.banned.intersection(self._tensors_of(atom)) - waiting
                pending.extend(sorted(again))
                waiting |= again

    def _obstacles_at(self, number: int) -> Iterator[tuple[int, int, str]]:
        """Atoms that a tensor keeps from being in their engines, and why."""
        tensor = self.graph.tensors[number]
        for atom in self.edges.touching[number]:
            rank = self.engine_of[atom]
            reason = self.engines[rank].borders.get(number)
            if reason is None:
                continue
            if tensor.is_output or tensor.producer is None or self._is_taken_beside(atom, rank):
                yield atom, rank, reason
                continue
            # no other engine takes it: then whatever shares the tensor has to come to it
            label = self.graph.nodes[self.atoms.nodes[atom][0]].label
            for other in self.edges.touching[number]:
                if (beside := self.engine_of[other]) != rank:
                    own = self.engines[rank].engine
                    yield other, beside, f"beside {label}, which {own} alone takes: {reason}"

    def _is_taken_beside(self, atom: int, rank: int) -> bool:
        return any(
            atom not in refused for other, refused in enumerate(self.refused) if other != rank
        )

    def _tensors_of(self, atom: int) -> list[int]:
        read = self.atoms.tensors_read(self.graph, atom)
        return [*read, *self.atoms.tensors_written(self.graph, atom)]

    def _refuse(self, atom: int, rank: int, reason: str) -> None:
        self.refused[rank].setdefault(atom, reason)
        self.engine_of[atom] = self._first_engine(atom)

    def _refuse_inner_borders(self, draft: RegionDraft) -> bool:
        """Refuse readers of tensors between two regions of an engine that may not be there."""
        changed = []
        for number in self.edges.crossing(draft) if self.banned else []:
            producer = self.graph.tensors[number].producer
            source = draft.of_atom[self.atoms.of_node[producer]] if producer is not None else -1
            for atom in self.edges.touching[number]:
                rank = self.engine_of[atom]
                reason = self.engines[rank].borders.get(number)
                if reason is not None and draft.of_atom[atom] != source:
                    self._refuse(atom, rank, reason)
                    changed += self._tensors_of(atom)
        self._settle_borders(changed)
        return bool(changed)

    def _give_up_regions(self, draft: RegionDraft) -> bool:
        """Give nodes of regions that do not pay to another engine; whether there were any."""
        names = [engine.engine for engine in self.engines]
        merges = find_merges(draft, self.edges, names, self.limits, self._could_take)
        changed = []
        for merge in merges:
            for atom in merge.atoms:
                for rank in range(merge.target):
                    if atom not in self.refused[rank]:
                        self.given_up[rank].setdefault(atom, merge.reason)
                self.engine_of[atom] = self._first_engine(atom)
                changed += self._tensors_of(atom)
        self._settle_borders(changed)
        return bool(changed)

    def _could_take(self, atom: int, rank: int) -> bool:
        """Whether an engine takes an atom that it has not given up, and is not its engine now."""
        return atom not in self.refused[rank] and atom not in self.given_up[rank]

    def result(self, draft: RegionDraft) -> PlacementPlan:
        """The plan with its reasons, by the numbers of nodes."""
        reasons: list[dict[int, str]] = [{} for _ in self.engines]
        for rank, of_engine in enumerate(reasons):
            for atom, reason in sorted({**self.given_up[rank], **self.refused[rank]}.items()):
                if self.engine_of[atom] != rank:
                    own = self.engines[rank].refused
                    for node in self.atoms.nodes[atom]:
                        of_engine[node] = own.get(node, reason)
        regions = tuple(
            Region(engine, tuple(sorted(n for atom in atoms for n in self.atoms.nodes[atom])))
            for engine, atoms in zip(draft.engines, draft.members(), strict=True)
        )
        borders = tuple(self._borders(draft, regions, reasons))
        return PlacementPlan(regions, borders, tuple(reasons))

    def _borders(
        self, draft: RegionDraft, regions: Sequence[Region], reasons: Sequence[dict[int, str]]
    ) -> Iterator[Border]:
        for number in self.edges.crossing(draft):
            tensor = self.graph.tensors[number]
            assert tensor.producer is not None, "crossing"
            source = draft.of_atom[self.atoms.of_node[tensor.producer]]
            readers: dict[int, int] = {}
            for node in tensor.consumers:
                readers.setdefault(draft.of_atom[self.atoms.of_node[node]], node)
            for target, reader in sorted(readers.items()):
                if target != source:
                    pair = regions[source].engine, regions[target].engine
                    node, reason = (
                        self._between(source, target, reader, regions, reasons)
                        if pair[0] == pair[1]
                        else _reason(reader, tensor.producer, *pair, reasons)
                    )
                    yield Border(number, source, target, node, reason)

    def _between(
        self,
        source: int,
        target: int,
        reader: int,
        regions: Sequence[Region],
        reasons: Sequence[dict[int, str]],
    ) -> tuple[int, str]:
        """The node that keeps two regions of one engine apart: of an engine that runs between."""
        own = regions[source].engine
        for region in regions[source + 1 : target]:
            if region.engine > own:
                return region.nodes[0], reasons[own].get(region.nodes[0], "")
            if region.engine < own:
                return reader, reasons[region.engine].get(reader, "")
        return reader, ""


def _reason(
    reader: int, producer: int, source: int, target: int, reasons: Sequence[dict[int, str]]
) -> tuple[int, str]:
    """Of the two nodes at a border that of the less preferred engine, and why it is there."""
    node = reader if target > source else producer
    return node, reasons[min(source, target)].get(node, "")
