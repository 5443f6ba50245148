"""Regions that are too small, cost more than they gain or are too many -> who gets their nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from deploy.placement.plan import PlanLimits
from deploy.placement.regions import AtomGraph, RegionDraft

Takes = Callable[[int, int], bool]
"""Whether an engine could get an atom, by the atom's number and the engine's."""


@dataclass(frozen=True)
class Merge:
    """Atoms of a region that go to the engine of a neighbouring region.

    Attributes:
        atoms: their numbers.
        source: the engine that loses them.
        target: the engine that gets them.
        reason: why.
    """

    atoms: tuple[int, ...]
    source: int
    target: int
    reason: str


@dataclass(frozen=True)
class _Candidate:
    """A region that could be merged.

    Attributes:
        region: its number.
        atoms: those of it that must change their engine: all others fit another region of it.
        target: the engine that gets them.
        fewer: by how many regions that is less.
        macs: multiply-adds that change their engine.
        nodes: that do.
    """

    region: int
    atoms: tuple[int, ...]
    target: int
    fewer: int
    macs: int
    nodes: int


def find_merges(
    draft: RegionDraft,
    edges: AtomGraph,
    names: Sequence[str],
    limits: PlanLimits,
    takes: Takes,
) -> list[Merge]:
    """The merges that a draft needs next; none if it keeps the limits as far as it can.

    Args:
        draft: the regions.
        edges: between the atoms of the graph.
        names: of the engines.
        limits: that the regions are to keep.
        takes: which engines could get an atom.
    """
    merging = _Merging(draft, edges, names, limits, takes)
    if len(draft.engines) < 2:
        return []
    return merging.of_small_regions() or merging.of_surplus_regions()


@dataclass(frozen=True)
class _Merging:
    draft: RegionDraft
    edges: AtomGraph
    names: Sequence[str]
    limits: PlanLimits
    takes: Takes

    @cached_property
    def members(self) -> list[list[int]]:
        return self.draft.members()

    @cached_property
    def bound(self) -> list[tuple[int, ...]]:
        """The atoms of each region that fit no other region of their engine."""
        earliest, latest = self.edges.earliest(self.draft), self.edges.latest(self.draft)
        return [
            tuple(atom for atom in atoms if earliest[atom] >= region >= latest[atom])
            for region, atoms in enumerate(self.members)
        ]

    def of_small_regions(self) -> list[Merge]:
        """The merges of regions that are too small or do not pay, the smallest first."""
        reasons = {
            candidate: reason
            for region in range(len(self.members))
            if (candidate := self._candidate(region, self._neighbours(region)))
            and (reason := self._why_not_worth(candidate))
        }
        chosen = self._apart(sorted(reasons, key=lambda one: (one.macs, one.nodes, one.region)))
        return [self._merge(one, reasons[one]) for one in chosen]

    def of_surplus_regions(self) -> list[Merge]:
        """The merges that lose least, for half of the regions that are too many."""
        most = self.limits.max_segments
        excess = len(self.members) - most
        if not most or excess <= 0:
            return []
        regions = range(len(self.members))
        candidates = [c for region in regions if (c := self._candidate(region))]
        candidates.sort(key=lambda c: (c.macs / min(c.fewer, excess), c.nodes, c.region))
        chosen: list[_Candidate] = []
        for candidate in self._apart(candidates):
            chosen.append(candidate)
            if 2 * sum(one.fewer for one in chosen) >= excess:
                break
        reason = f"more than {most} segment{'s' * (most > 1)} (max_segments)"
        return [self._merge(candidate, reason) for candidate in chosen]

    def _merge(self, candidate: _Candidate, reason: str) -> Merge:
        source = self.draft.engines[candidate.region]
        return Merge(candidate.atoms, source, candidate.target, reason)

    def _apart(self, candidates: Sequence[_Candidate]) -> Iterator[_Candidate]:
        """The candidates in order without those next to an earlier one, which changes them."""
        taken: set[int] = set()
        for candidate in candidates:
            if not {candidate.region - 1, candidate.region + 1} & taken:
                taken.add(candidate.region)
                yield candidate

    def _neighbours(self, region: int) -> list[int]:
        """The engines of the regions before and behind, each of which a region could join."""
        return (
            self.draft.engines[max(region - 1, 0) : region]
            + self.draft.engines[region + 1 : region + 2]
        )

    def _candidate(self, region: int, targets: Sequence[int] | None = None) -> _Candidate | None:
        """A region with the best of the engines that could get its atoms.

        Args:
            region: its number.
            targets: those engines; None for any, where a neighbour of the region comes first.
        """
        own, near = self.draft.engines[region], self._neighbours(region)
        atoms = self.bound[region]
        engines = [
            engine
            for engine in dict.fromkeys(targets if targets is not None else range(len(self.names)))
            if engine != own and all(self.takes(atom, engine) for atom in atoms)
        ]
        if not engines or not atoms:
            return None
        target = max(
            engines,
            key=lambda e: (near.count(e), self._bytes_between(region, e) if e in near else 0, -e),
        )
        return _Candidate(
            region,
            atoms,
            target,
            # a region that joins none of its neighbours may let them be merged later
            near.count(target) or 1,
            sum(self.edges.macs[atom] for atom in atoms),
            sum(len(self.edges.atoms.nodes[atom]) for atom in atoms),
        )

    def _why_not_worth(self, candidate: _Candidate) -> str:
        atoms = self.members[candidate.region]
        nodes = sum(len(self.edges.atoms.nodes[atom]) for atom in atoms)
        own = self.names[self.draft.engines[candidate.region]]
        if nodes < self.limits.min_nodes:
            return (
                f"{nodes} node{'s' * (nodes > 1)} of {own} alone between others "
                f"(min_nodes={self.limits.min_nodes})"
            )
        macs = sum(self.edges.macs[atom] for atom in atoms)
        size = self._bytes_between(candidate.region, candidate.target)
        if macs < self.limits.min_macs_per_byte * size:
            return (
                f"{nodes} node{'s' * (nodes > 1)} of {own} with {macs:,} multiply-adds for "
                f"{size:,} bytes over their borders "
                f"(min_macs_per_byte={self.limits.min_macs_per_byte:g})"
            )
        return ""

    def _bytes_between(self, region: int, engine: int) -> int:
        """The bytes over a region's borders with regions of an engine."""
        draft, tensors = self.draft, self.edges.graph.tensors
        crossing = {number for atom in self.members[region] for number in self.edges.between[atom]}
        return sum(
            tensors[number].size
            for number in crossing
            if any(
                draft.of_atom[atom] != region and draft.engines[draft.of_atom[atom]] == engine
                for atom in self.edges.touching[number]
            )
        )
