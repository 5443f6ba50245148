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
        # tensors that can cross a border; those of a single atom never do
        self._tensors: list[list[int]] = [[] for _ in atoms.nodes]
        for tensor, touching in enumerate(self.touching):
            if len(touching) > 1 and graph.tensors[tensor].producer is not None:
                for atom in touching:
                    self._tensors[atom].append(tensor)

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
        for draft in drafts:
            self._delay(draft)
            _renumber(draft)
        return min(drafts, key=lambda draft: (len(draft.engines), self.border_bytes(draft)))

    def border_bytes(self, draft: RegionDraft) -> int:
        """The bytes of all tensors that cross a border, each once."""
        return sum(self.graph.tensors[tensor].size for tensor in self.crossing(draft))

    def crossing(self, draft: RegionDraft) -> list[int]:
        """The tensors that go from one region into another."""
        of_atom = draft.of_atom
        return [
            number
            for number, touching in enumerate(self.touching)
            if len({of_atom[atom] for atom in touching}) > 1
            and self.graph.tensors[number].producer is not None
        ]

    def _in_order(self, engine_of: Sequence[int], first: int) -> RegionDraft:
        """Regions one by one, each with all atoms of its engine that can run by then."""
        needs = list(self._needs)
        ready: dict[int, list[int]] = {engine: [] for engine in sorted(set(engine_of))}
        for atom, needed in enumerate(needs):
            if not needed:
                ready[engine_of[atom]].append(atom)
        draft = RegionDraft([], [0] * len(needs))
        engine = first
        while any(ready.values()):
            if draft.engines:
                engine = max(ready, key=lambda name: (len(ready[name]), -name))
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

    def _delay(self, draft: RegionDraft) -> None:
        """Move atoms to later regions of their engine where that saves bytes over borders."""
        of_atom, engines = draft.of_atom, draft.engines
        places = [Counter(of_atom[atom] for atom in touching) for touching in self.touching]
        for atom in reversed(range(len(of_atom))):
            region = of_atom[atom]
            users = [of_atom[user] for user in self._successors[atom]]
            latest = min(users, default=region)
            later = [r for r in range(region + 1, latest + 1) if engines[r] == engines[region]]
            if not later:
                continue
            saved = [
                sum(self._saving(places[t], t, region, r) for t in self._tensors[atom])
                for r in later
            ]
            best = max(range(len(later)), key=lambda number: (saved[number], number))
            if saved[best] <= 0:
                continue
            of_atom[atom] = later[best]
            for tensor in self._tensors[atom]:
                places[tensor][region] -= 1
                places[tensor][later[best]] += 1

    def _saving(self, places: Counter[int], tensor: int, source: int, target: int) -> int:
        """The bytes that a tensor saves where one of its atoms changes its region."""
        regions = {region for region, count in places.items() if count}
        moved = (regions - ({source} if places[source] == 1 else set())) | {target}
        size = self.graph.tensors[tensor].size
        return size * ((len(regions) > 1) - (len(moved) > 1))


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
