"""What is told of a placement: in the plan, in the report and in the output of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PlacedRegion:
    """A segment that the planner made.

    Attributes:
        segment: its name in the chain.
        engine: that runs it.
        nodes: how many.
        macs: multiply-adds of one run.
        operators: each operator of it, with how often it occurs, the most frequent first.
        first: its first node, for people.
        last: its last node.
    """

    segment: str
    engine: str
    nodes: int
    macs: int
    operators: tuple[tuple[str, int], ...]
    first: str
    last: str


@dataclass(frozen=True)
class PlacedBorder:
    """A tensor that goes from one segment into another.

    Attributes:
        tensor: its name in the chain.
        spec: its dtype and shape, such as ``float32[1, 64, 56, 56]``.
        size: in bytes.
        source: the segment that computes it.
        target: the segment that reads it.
        node: the node that made the border, for people.
        reason: why that node is not in the preferred engine.
    """

    tensor: str
    spec: str
    size: int
    source: str
    target: str
    node: str
    reason: str


@dataclass(frozen=True)
class RefusedOperator:
    """Nodes of one operator that an engine does not have, for one reason.

    Attributes:
        engine: the engine.
        operator: of the nodes.
        reason: why.
        nodes: how many.
        example: the first of them, for people.
        learnt: whether a trial showed it, and not the engine's own word.
    """

    engine: str
    operator: str
    reason: str
    nodes: int
    example: str
    learnt: bool = False


@dataclass(frozen=True)
class MeasuredPlan:
    """A way to divide a model whose latency was measured beside others.

    Attributes:
        name: for people.
        segments: how many it has.
        milliseconds: the p50 of a call of its chain; None where it did not run.
        taken: whether it is the one of the bundle.
    """

    name: str
    segments: int
    milliseconds: float | None
    taken: bool

    def __str__(self) -> str:
        """Such as ``as planned (7 segments): 12.3 ms, taken``."""
        latency = "does not run" if self.milliseconds is None else f"{self.milliseconds:.3g} ms"
        plural = "s" * (self.segments != 1)
        taken = ", taken" if self.taken else ""
        return f"{self.name} ({self.segments} segment{plural}): {latency}{taken}"


@dataclass(frozen=True)
class PlacementRecord:
    """How a model was divided between engines, and why.

    Attributes:
        prefer: the engines, the preferred first.
        regions: in the order in which they run.
        borders: between them.
        refused: what the engines do not take, or lost with a small region.
        notes: what the reader has to know, such as whose parser was asked in the place of another.
        trials: conversions that were tried.
        seconds: of planning and trying.
        complete: whether the search for failing nodes ended within its bounds.
        remembered: whether an earlier run had learnt all of it.
        measured: the latencies of this plan and of others, where they were measured.
    """

    prefer: tuple[str, ...]
    regions: tuple[PlacedRegion, ...]
    borders: tuple[PlacedBorder, ...]
    refused: tuple[RefusedOperator, ...]
    notes: tuple[str, ...] = ()
    trials: int = 0
    seconds: float = 0.0
    complete: bool = True
    remembered: bool = False
    measured: tuple[MeasuredPlan, ...] = ()

    @property
    def border_bytes(self) -> int:
        """Bytes over all borders in one run; a tensor counts once however many segments read it."""
        return sum({border.tensor: border.size for border in self.borders}.values())

    def share(self, engine: str) -> float:
        """The share of the multiply-adds that an engine has, of nodes where there are none."""
        own = [region for region in self.regions if region.engine == engine]
        total = sum(region.macs for region in self.regions)
        if total:
            return sum(region.macs for region in own) / total
        nodes = sum(region.nodes for region in self.regions)
        return sum(region.nodes for region in own) / nodes if nodes else 0.0
