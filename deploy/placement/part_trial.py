"""Parts of a region, cut out and tried on the reference's values while a failure is searched."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from backends.acceptance import Tolerance
from backends.contract import (
    Array,
    ConversionError,
    DisagreementError,
    Segment,
    Tensors,
)
from deploy.graph.exported import Exported
from deploy.partition.cut_points import Cut
from deploy.placement.answers import Refusals
from deploy.placement.inner_reference import InnerReference
from deploy.placement.operator_graph import OperatorGraph
from deploy.placement.split import region_boundary, split_segment
from deploy.recipe.schema import AutoPartitionRecipe, BackendRecipe

_MOST_BYTES = 1 << 30  # of tensors inside a segment that are computed at once


@dataclass(frozen=True)
class PlacementTask:
    """A segment that is to be divided.

    Attributes:
        segment: the segment.
        engines: the preferred ones, the first first.
        settings: of the recipe.
        names: makes the name of the segment with a number in the chain.
        taken: the names of the tensors of the chain.
        out: a new folder for files.
        whole: whether one engine has to take all of it.
        declined: for each engine, why it does not get nodes that it takes, by their first tensors.
    """

    segment: Segment
    engines: Sequence[BackendRecipe]
    settings: AutoPartitionRecipe
    names: Callable[[int], str]
    taken: Collection[str]
    out: Path
    whole: bool = False
    declined: tuple[Refusals, ...] = ()


@dataclass(frozen=True)
class Values:
    """The reference's values of tensors, by their names.

    Attributes:
        tensors: the values.
        floors: the noise floors of tensors inside a segment.
    """

    tensors: Tensors
    floors: Mapping[str, Tolerance] = field(default_factory=dict)


def with_inner(values: Tensors, inner: InnerReference | None) -> Values:
    """The values of a chain with those inside a segment, and their noise floors."""
    if inner is None:
        return Values(values)
    tensors = {**values, **inner(values)}
    return Values(tensors, inner.floors(tensors))


Try = Callable[[Segment, int, Values], ConversionError | None]
"""Convert and verify a segment in the engine of a rank on the values of its tensors."""


@dataclass
class PartTrial:
    """Tries parts of a segment's graph; their tensors have the names of the graph.

    Attributes:
        task: of the segment.
        exported: its file.
        graph: the planner's.
        values: the reference's values of its inputs and outputs.
        attempt: tries a part that is cut out.
        out: the folder for files.
    """

    task: PlacementTask
    exported: Exported
    graph: OperatorGraph
    values: Tensors
    attempt: Try
    out: Path
    known: dict[str, Array] = field(default_factory=dict)
    floors: dict[str, Tolerance] = field(default_factory=dict)
    number: int = 0

    def run(self, rank: int, nodes: Sequence[int], ends: Sequence[int]) -> ConversionError | None:
        """How the part fails in the engine of a rank, or None.

        Args:
            rank: of the engine.
            nodes: of the part.
            ends: the numbers of the tensors that it gives.
        """
        starts = region_boundary(self.graph, nodes).starts
        names = [self.graph.tensors[tensor].name for tensor in (*starts, *ends)]
        values = self._values(names)
        cut = Cut("part", names[: len(starts)], names[len(starts) :])
        folder = next(f for n in count(self.number) if not (f := self._folder(n)).exists())
        self.number += 1
        (segment,) = split_segment(self.exported, [cut], folder, values)
        return self.attempt(segment, rank, Values(values, self.floors))

    def _folder(self, number: int) -> Path:
        return self.out / f"part{number}"

    def _values(self, names: Sequence[str]) -> dict[str, Array]:
        known = {**self.values, **self.known}
        missing = [name for name in names if name not in known]
        if missing:
            self._compute(missing)
            known |= self.known
        return {name: known[name] for name in names}

    def _compute(self, needed: Sequence[str]) -> None:
        """Compute these tensors, and others beside them that a search may need next."""
        engine = self.task.settings.reference
        assert engine is not None, "validated"
        room = _MOST_BYTES
        names = dict.fromkeys(needed)
        for tensor in self.graph.tensors:
            if tensor.spec is not None and tensor.producer is not None and tensor.size <= room:
                names.setdefault(tensor.name)
                room -= tensor.size
        folder = next(f for n in count() if not (f := self.out / f"values{n}").exists())
        same = {name: name for name in names}
        inner = with_inner(self.values, InnerReference(self.task.segment, same, engine, folder))
        self.known |= {name: inner.tensors[name] for name in names}
        self.floors |= inner.floors


def error_in_graph(error: ConversionError, tensors: Mapping[str, str]) -> ConversionError:
    """An error of a segment with the names that tensors have in the graph.

    Args:
        error: of the conversion.
        tensors: the name in the graph of each tensor of the chain that has another there.
    """
    if isinstance(error, DisagreementError):
        return DisagreementError(str(error), tensor=tensors.get(error.tensor, error.tensor))
    refused = tuple(
        replace(node, output=tensors.get(node.output, node.output)) for node in error.refused
    )
    return ConversionError(str(error), refused=refused)
