"""What a planner is told and what it answers: engines, limits, regions and the borders between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class EngineAnswers:
    """What an engine takes of a graph.

    Attributes:
        engine: its name.
        refused: why it does not take a node, by the node's number; it takes all others.
        borders: why no segment of it may begin or end at a tensor, by the tensor's number.
        declined: why it does not get a node that it takes, where another engine takes it.
    """

    engine: str
    refused: Mapping[int, str] = field(default_factory=dict)
    borders: Mapping[int, str] = field(default_factory=dict)
    declined: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PlanLimits:
    """How finely a graph may be cut.

    Attributes:
        min_nodes: a smaller region is given to a neighbour.
        max_segments: the number of regions; 0 sets no limit.
        min_macs_per_byte: a region with fewer multiply-adds for each byte over its borders with
            other regions is given to a neighbour.
    """

    min_nodes: int = 4
    max_segments: int = 24
    min_macs_per_byte: float = 1.0


@dataclass(frozen=True)
class Region:
    """Nodes that one engine runs as one segment: no path leaves them and comes back.

    Attributes:
        engine: its rank among the preferred ones, from 0 up.
        nodes: their numbers, in order.
    """

    engine: int
    nodes: tuple[int, ...]


@dataclass(frozen=True)
class Border:
    """A tensor that goes from one region into another.

    Attributes:
        tensor: its number.
        source: the number of the region that computes it.
        target: the number of the region that reads it.
        node: the number of the node that made the border.
        reason: why that node is in another engine than the preferred one.
    """

    tensor: int
    source: int
    target: int
    node: int
    reason: str


@dataclass(frozen=True)
class PlacementPlan:
    """A graph in regions.

    Attributes:
        regions: in an order in which they can run.
        borders: between them, in the order of their tensors.
        reasons: for each engine, why it does not have a node that a less preferred one has.
    """

    regions: tuple[Region, ...]
    borders: tuple[Border, ...]
    reasons: tuple[Mapping[int, str], ...]
