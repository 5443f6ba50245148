"""Engines of atoms -> regions: as few as the data flow allows, with few bytes between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.placement.atoms import Atoms
from deploy.placement.operator_graph import OperatorGraph


@dataclass
class RegionDraft:
    """The atoms of a graph in regions that run one after the other.

    An edge leads into the same region or a later one, so that no path leaves a region and comes
    back.

    Attributes:
        engines: of each region.
        of_atom: the number of each atom's region.
    """

    engines: list[int]
    of_atom: list[int]

    def members(self) -> list[list[int]]:
        """The atoms of each region, in order."""
        members: list[list[int]] = [[] for _ in self.engines]
        for atom, region in enumerate(self.of_atom):
            members[region].append(atom)
        return members


class AtomGraph:
    """The edges between the atoms of a graph, for many drafts of regions.

    Attributes:
        graph: the graph.
        atoms: of it.
        touching: for each tensor, the atoms that compute or read it, each once.
        between: for each atom, the tensors that it shares with others; no inputs of the graph.
        macs: multiply-adds of each atom.
    """

    def __init__(self, graph: OperatorGraph, atoms: Atoms) -> None:
        self.graph, self.atoms = graph, atoms
        of_node = atoms.of_node
        self.touching = [
            tuple(
                dict.fromkeys(
                    of_node[node]
                    for node in (
                        *([] if tensor.producer is None else [tensor.producer]),
                        *tensor.consumers,
                    )
                )
            )
            for tensor in graph.tensors
        ]
        self._successors = [self._successors_of(atom) for atom in range(len(atoms.nodes))]
        self._needs = [0] * len(atoms.nodes)  # predecessors of each atom
        for successors in self._successors:
            for atom in successors:
                self._needs[atom] += 1
        self.macs = [sum(graph.nodes[node].macs for node in nodes) for nodes in atoms.nodes]
        self._crossable = [
            number
            for number, touching in enumerate(self.touching)
            if len(touching) > 1 and graph.tensors[number].producer is not None
        ]
        self.between: list[list[int]] = [[] for _ in atoms.nodes]
        for tensor in self._crossable:
            for atom in self.touching[tensor]:
                self.between[atom].append(tensor)

    def _successors_of(self, atom: int) -> tuple[int, ...]:
        of_node, nodes = self.atoms.of_node, self.atoms.nodes[atom]
        users = (of_node[user] for node in nodes for user in self.graph.successors(node))
        return tuple(dict.fromkeys(user for user in users if user != atom))

    def draft(self, engine_of: Sequence[int]) -> RegionDraft:
        """The atoms in regions of one engine each.

        Of the orders that begin with each engine, that with the fewest regions, then bytes.
        """
        firsts = sorted(
            {engine_of[atom] for atom, needed in enumerate(self._needs) if not needed}
        ) or [0]
        drafts = [self._in_order(engine_of, first) for first in firsts]
        fewest = min(len(draft.engines) for draft in drafts)
        shortest = [draft for draft in drafts if len(draft.engines) == fewest]
        for draft in shortest:
            self._delay(draft)
            _renumber(draft)
        return min(shortest, key=lambda draft: (len(draft.engines), self.border_bytes(draft)))

    def border_bytes(self, draft: RegionDraft) -> int:
        """The bytes of all tensors that cross a border, each once."""
        return sum(self.graph.tensors[tensor].size for tensor in self.crossing(draft))

    def crossing(self, draft: RegionDraft) -> list[int]:
        """The tensors that go from one region into another."""
        of_atom = draft.of_atom
        return [
            number
            for number in self._crossable
            if any(
                of_atom[atom] != of_atom[self.touching[number][0]] for atom in self.touching[number]
            )
        ]

    def earliest(self, draft: RegionDraft) -> list[int]:
        """The first region of its engine that each atom could be in, if the others make way."""
        behind = _next_regions(draft.engines)
        earliest = [0] * len(draft.of_atom)
        for atom, region in enumerate(draft.of_atom):
            engine = draft.engines[region]
            earliest[atom] = behind[engine][earliest[atom]]
            for user in self._successors[atom]:
                earliest[user] = max(earliest[user], earliest[atom])
        return earliest

    def latest(self, draft: RegionDraft) -> list[int]:
        """The last region of its engine that each atom could be in, if the others make way."""
        last = len(draft.engines) - 1
        before = {e: [last - r for r in n] for e, n in _next_regions(draft.engines[::-1]).items()}
        latest = [last] * len(draft.of_atom)
        for atom in reversed(range(len(latest))):
            users = [latest[user] for user in self._successors[atom]]
            engine = draft.engines[draft.of_atom[atom]]
            latest[atom] = before[engine][last - min(users, default=last)]
        return latest

    def _in_order(self, engine_of: Sequence[int], first: int) -> RegionDraft:
        """Regions one by one, each with all atoms of its engine that can run by then.

        The next engine is that with the most changes of engine still ahead of one of its atoms: of
        two engines this gives the fewest regions, and of more seldom one too many.
        """
        needs = list(self._needs)
        ahead = self._changes_ahead(engine_of) if len(set(engine_of)) > 2 else needs
        ready: dict[int, list[int]] = {engine: [] for engine in sorted(set(engine_of))}
        for atom, needed in enumerate(needs):
            if not needed:
                ready[engine_of[atom]].append(atom)
        draft = RegionDraft([], [0] * len(needs))
        engine = first
        while any(ready.values()):
            if draft.engines:
                engine = max(
                    (name for name, waiting in ready.items() if waiting),
                    key=lambda name: (max(ahead[a] for a in ready[name]), len(ready[name]), -name),
                )
            pending, ready[engine] = ready[engine], []
            while pending:
                atom = pending.pop()
                draft.of_atom[atom] = len(draft.engines)
                for user in self._successors[atom]:
                    needs[user] -= 1
                    if not needs[user]:
                        (pending if engine_of[user] == engine else ready[engine_of[user]]).append(
                            user
                        )
            draft.engines.append(engine)
        return draft

    def _changes_ahead(self, engine_of: Sequence[int]) -> list[int]:
        """For each atom the most changes of engine on a path that begins with it."""
        changes = [0] * len(engine_of)
        for atom in reversed(range(len(engine_of))):
            own = engine_of[atom]
            changes[atom] = max(
                (changes[user] + (engine_of[user] != own) for user in self._successors[atom]),
                default=0,
            )
        return changes

    def _delay(self, draft: RegionDraft) -> None:
        """Move atoms to later regions of their engine where that saves bytes over borders."""
        of_atom, engines = draft.of_atom, draft.engines
        places: dict[int, Counter[int]] = {}  # the atoms of a tensor in each region
        for atom in reversed(range(len(of_atom))):
            region = of_atom[atom]
            latest = min((of_atom[user] for user in self._successors[atom]), default=region)
            later = [r for r in range(region + 1, latest + 1) if engines[r] == engines[region]]
            if not later:
                continue
            own = self.between[atom]
            for tensor in own:
                if tensor not in places:
                    places[tensor] = Counter(of_atom[other] for other in self.touching[tensor])
            saved, best = max(
                (sum(self._saving(tensor, places[tensor], region, r) for tensor in own), r)
                for r in later
            )
            if saved > 0:
                of_atom[atom] = best
                for tensor in own:
                    places[tensor][region] -= 1
                    places[tensor][best] += 1

    def _saving(self, tensor: int, places: Counter[int], source: int, target: int) -> int:
        """The bytes that a tensor saves where one of its atoms changes its region."""
        regions = {region for region, count in places.items() if count}
        moved = (regions - ({source} if places[source] == 1 else set())) | {target}
        size = self.graph.tensors[tensor].size
        return size * ((len(regions) > 1) - (len(moved) > 1))


def _next_regions(engines: Sequence[int]) -> dict[int, list[int]]:
    """For each engine and region, the first region of that engine from there on, or beyond all."""
    following: dict[int, list[int]] = {}
    for engine in set(engines):
        numbers = [len(engines)] * len(engines)
        for region in reversed(range(len(engines))):
            at_end = region + 1 == len(engines)
            beyond = len(engines) if at_end else numbers[region + 1]
            numbers[region] = region if engines[region] == engine else beyond
        following[engine] = numbers
    return following


def _renumber(draft: RegionDraft) -> None:
    """Leave empty regions out, and join those of one engine that follow each other."""
    used = set(draft.of_atom)
    numbers: dict[int, int] = {}
    engines: list[int] = []
    for region, engine in enumerate(draft.engines):
        if region in used:
            if not engines or engines[-1] != engine:
                engines.append(engine)
            numbers[region] = len(engines) - 1
    draft.engines = engines
    draft.of_atom = [numbers[region] for region in draft.of_atom]
