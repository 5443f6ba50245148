"""Random answers of pseudo-engines, and random limits."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from deploy.placement.operator_graph import OperatorGraph
from deploy.placement.plan import EngineAnswers, PlanLimits

_DENSITIES = (0.1, 0.3, 0.6)  # of refused nodes
_BANS = ("none", "none", "float32 alone", "some")
_BANNED = 0.2  # of the tensors, where some are


@dataclass(frozen=True)
class Mask:
    """What the planner is told of a graph.

    Attributes:
        engines: the answers, the preferred engine's first.
        limits: of the plan.
        complete: whether the last engine takes everything.
    """

    engines: tuple[EngineAnswers, ...]
    limits: PlanLimits
    complete: bool


def random_mask(graph: OperatorGraph, seed: str) -> Mask:
    """Two or three engines, the last of which mostly takes everything."""
    draw = random.Random(seed)
    names = ["a", "b", "c"][: draw.choice([2, 2, 3])]
    engines = [_answers(graph, name, draw) for name in names]
    complete = draw.random() < 0.85
    if complete:
        engines[-1] = EngineAnswers(names[-1])
    limits = PlanLimits(
        min_nodes=draw.choice([1, 1, 2, 4]),
        max_segments=draw.choice([0, 0, 1, 2, 5]),
        min_macs_per_byte=draw.choice([0.0, 0.0, 0.5]),
    )
    return Mask(tuple(engines), limits, complete)


def _answers(graph: OperatorGraph, name: str, draw: random.Random) -> EngineAnswers:
    borders = dict(_banned(graph, name, draw))
    return EngineAnswers(name, dict(_refused(graph, name, draw)), borders)


def _refused(graph: OperatorGraph, name: str, draw: random.Random) -> Iterator[tuple[int, str]]:
    density, by_operator = draw.choice(_DENSITIES), draw.random() < 0.3
    operators = sorted({node.operator for node in graph.nodes})
    lacking = {operator for operator in operators if draw.random() < density}
    for number, node in enumerate(graph.nodes):
        if by_operator and node.operator in lacking:
            yield number, f"{name} has no {node.operator}"
        elif not by_operator and draw.random() < density:
            yield number, f"{name} refuses {node.label}"


def _banned(graph: OperatorGraph, name: str, draw: random.Random) -> Iterator[tuple[int, str]]:
    kind = draw.choice(_BANS)
    for number, tensor in enumerate(graph.tensors):
        if tensor.spec is None:
            continue
        if kind == "float32 alone" and tensor.spec.dtype != "float32":
            yield number, f"{name} takes float32 at its borders, and not {tensor.spec}"
        elif kind == "some" and draw.random() < _BANNED:
            yield number, f"{name} takes no {tensor.name} at its borders"
