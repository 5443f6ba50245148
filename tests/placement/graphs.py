"""Small graphs for the planner, as text."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

from backends.contract import TensorSpec
from deploy.placement.operator_graph import GraphNode, GraphTensor, OperatorGraph
from deploy.placement.plan import EngineAnswers, PlacementPlan, PlanLimits
from deploy.placement.planner import plan_placement

FREE = PlanLimits(min_nodes=1, max_segments=0, min_macs_per_byte=0)


def graph(
    text: str,
    *,
    macs: Mapping[str, int] | None = None,
    sizes: Mapping[str, int] | None = None,
    dtypes: Mapping[str, str] | None = None,
    outputs: Sequence[str] = (),
    together: Sequence[str] = (),
) -> OperatorGraph:
    """A graph of nodes such as ``a = Conv(x, b)``, one a line.

    Args:
        text: the nodes; each is called by its tensor. What no node gives is an input.
        macs: multiply-adds of nodes; 100 where none are given.
        sizes: bytes of tensors; 16 where none are given.
        dtypes: of tensors; ``float32`` where none is given, ``sequence`` for what cannot cross.
        outputs: besides the tensors that no node reads.
        together: sets of nodes, such as ``"q dq"``, for one segment.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    nodes = [_node(line) for line in lines]
    reads = {name: names for name, _, names in nodes}
    inputs = [n for names in reads.values() for n in names if n not in reads]
    names = list(dict.fromkeys([*inputs, *reads]))
    numbers = {name: number for number, name in enumerate(names)}
    order = {name: number for number, name in enumerate(reads)}
    users: dict[str, list[int]] = {name: [] for name in names}
    for name, read_names in reads.items():
        for read in dict.fromkeys(read_names):
            users[read].append(order[name])
    return OperatorGraph(
        tuple(
            GraphNode(
                name,
                operator,
                f"{operator} '{name}'",
                tuple(numbers[read] for read in dict.fromkeys(read_names)),
                (numbers[name],),
                (macs or {}).get(name, 100),
            )
            for name, operator, read_names in nodes
        ),
        tuple(
            GraphTensor(
                name,
                _spec(name, (dtypes or {}).get(name, "float32")),
                (sizes or {}).get(name, 16),
                order.get(name),
                tuple(users[name]),
                name in order and (name in outputs or not users[name]),
            )
            for name in names
        ),
        tuple(tuple(order[name] for name in group.split()) for group in together),
    )


def _node(line: str) -> tuple[str, str, list[str]]:
    match = re.fullmatch(r"\s*(\w+) = (\w+)\((.*)\)\s*", line)
    assert match, line
    name, operator, reads = match.groups()
    return name, operator, [read.strip() for read in reads.split(",") if read.strip()]


def _spec(name: str, dtype: str) -> TensorSpec | None:
    return None if dtype == "sequence" else TensorSpec(name, dtype, (4,))


def without(engine: str, of: OperatorGraph, *operators: str, borders: str = "") -> EngineAnswers:
    """An engine that lacks operators, and that cannot have some tensors at its borders."""
    refused = {
        number: f"{engine} has no {node.operator}"
        for number, node in enumerate(of.nodes)
        if node.operator in operators
    }
    banned = {
        number: f"{engine} takes no {tensor.name} at its borders"
        for number, tensor in enumerate(of.tensors)
        if tensor.name in borders.split()
    }
    return EngineAnswers(engine, refused, banned)


def placed(
    of: OperatorGraph, engines: Sequence[EngineAnswers], limits: PlanLimits = FREE
) -> list[str]:
    """The regions of a plan, such as ``fast: a b``."""
    return shown(of, engines, plan_placement(of, engines, limits))


def shown(of: OperatorGraph, engines: Sequence[EngineAnswers], plan: PlacementPlan) -> list[str]:
    """A plan's regions, such as ``fast: a b``."""
    return [
        f"{engines[region.engine].engine}: {' '.join(of.nodes[n].output for n in region.nodes)}"
        for region in plan.regions
    ]


def chain(*operators: str, **given: Mapping[str, int]) -> OperatorGraph:
    """A chain of nodes ``n0``, ``n1`` and so on from the input ``x``."""
    names = ["x", *(f"n{number}" for number in range(len(operators)))]
    lines = [
        f"{name} = {operator}({before})"
        for name, operator, before in zip(names[1:], operators, names, strict=False)
    ]
    return graph("\n".join(lines), **given)  # type: ignore[arg-type]


def random_graph(nodes: int, seed: int, depth: float = 0.5) -> OperatorGraph:
    """A graph whose nodes read one or two tensors that lie not far before them.

    Args:
        nodes: how many.
        seed: of all that is random.
        depth: the larger, the nearer, so that the graph is deeper.
    """
    draw = random.Random(seed)
    names = ["x"]
    lines = []
    for number in range(nodes):
        near = [int(draw.expovariate(depth)) for _ in range(draw.choice([1, 1, 2]))]
        reads = dict.fromkeys(names[-1 - min(back, len(names) - 1)] for back in near)
        lines.append(f"n{number} = Op{draw.randrange(4)}({', '.join(reads)})")
        names.append(f"n{number}")
    macs = {name: draw.choice([0, 0, 10, 100, 1000]) for name in names}
    sizes = {name: draw.choice([8, 32, 128]) for name in names}
    return graph("\n".join(lines), macs=macs, sizes=sizes)
