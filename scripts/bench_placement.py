#!/usr/bin/env python3
"""How long the planner of automatic partitions takes for given answers, by the size of the graph.

    .venv/bin/python scripts/bench_placement.py
    .venv/bin/python scripts/bench_placement.py --nodes 1000 2000

Graphs of two kinds are generated: a stack of transformer layers with residual connections, and
nodes that read one or two tensors computed not long before them. The preferred engine refuses some
of the nodes at random; the other takes all. Times are the process's own, the best of some rounds;
the ratio is to the size before, so that linear time doubles with the size.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence

from backends.contract import TensorSpec
from deploy.placement.operator_graph import GraphNode, GraphTensor, OperatorGraph
from deploy.placement.plan import EngineAnswers, PlacementPlan, PlanLimits
from deploy.placement.planner import plan_placement

_SIZES = (2_000, 2_500, 5_000, 10_000, 20_000)
_REFUSED = (0.02, 0.2)
_ROUNDS = 3
_LAYER = (  # operators of a layer, and how far back their operands lie; 0 is the layer's input
    ("LayerNormalization", (1,)),
    *[(name, (back,)) for back, name in enumerate(("MatMul",) * 3, 1)],
    *[("Reshape", (3,))] * 3,
    *[("Transpose", (3,))] * 3,
    *(("MatMul", (2, 3)), ("Mul", (1,)), ("Add", (1,)), ("Softmax", (1,))),
    *(("MatMul", (1, 5)), ("Transpose", (1,)), ("Reshape", (1,)), ("MatMul", (1,))),
    *(("Add", (1, 0)), ("LayerNormalization", (1,)), ("MatMul", (1,)), ("Gelu", (1,))),
    *(("MatMul", (1,)), ("Add", (1, 5))),
)


def main() -> None:
    """Print a table for each kind of graph and share of refused nodes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=_SIZES, help="sizes of the graphs")
    sizes = parser.parse_args().nodes
    print("| graph | refused | nodes | seconds | ratio | regions | share of the preferred engine |")
    print("|---|---|---|---|---|---|---|")
    for kind, generate in (("transformer", transformer), ("random", scattered)):
        for refused in _REFUSED:
            _measure(kind, generate, refused, sizes)


def _measure(
    kind: str, generate: Callable[[int], OperatorGraph], refused: float, sizes: Sequence[int]
) -> None:
    before = 0.0
    for nodes in sizes:
        graph = generate(nodes)
        seconds, plan = min(
            (_plan(graph, refused) for _ in range(_ROUNDS)), key=lambda pair: pair[0]
        )
        ratio = f"{seconds / before:.2f}" if before else ""
        before = seconds
        print(
            f"| {kind} | {refused:.0%} | {nodes:,} | {seconds:.2f} | {ratio} | "
            f"{len(plan.regions)} | {_share(graph, plan):.0%} |",
            flush=True,
        )


def _plan(graph: OperatorGraph, refused: float) -> tuple[float, PlacementPlan]:
    draw = random.Random(1)
    nodes = range(len(graph.nodes))
    preferred = EngineAnswers(
        "preferred", {n: "no kernel" for n in nodes if draw.random() < refused}
    )
    start = time.process_time()
    plan = plan_placement(graph, [preferred, EngineAnswers("general")], PlanLimits())
    return time.process_time() - start, plan


def _share(graph: OperatorGraph, plan: PlacementPlan) -> float:
    own = (node for region in plan.regions if region.engine == 0 for node in region.nodes)
    return sum(graph.nodes[n].macs for n in own) / sum(node.macs for node in graph.nodes)


def transformer(nodes: int) -> OperatorGraph:
    """A stack of transformer layers; each ends where its residual connections are added."""
    operators, reads = [], []
    while len(operators) < nodes:
        start = len(operators)
        for operator, back in _LAYER[: nodes - start]:
            number = len(operators)
            reads.append(tuple(start if step == 0 else number + 1 - step for step in back))
            operators.append(operator)
    return _graph(operators, reads)


def scattered(nodes: int) -> OperatorGraph:
    """Nodes that read one or two of the tensors before them."""
    draw = random.Random(0)
    reads = [
        tuple(
            dict.fromkeys(
                max(0, n - int(draw.expovariate(0.5))) for _ in range(draw.choice((1, 1, 2)))
            )
        )
        for n in range(nodes)
    ]
    return _graph(["Conv"] * nodes, reads)


def _graph(operators: Sequence[str], reads: Sequence[tuple[int, ...]]) -> OperatorGraph:
    """A graph whose tensor 0 is its input, and tensor n + 1 is what node n gives."""
    spec = TensorSpec("t", "float32", (1, 128))
    users: list[list[int]] = [[] for _ in range(len(operators) + 1)]
    for node, own in enumerate(reads):
        for tensor in own:
            users[tensor].append(node)
    tensors = [
        GraphTensor(f"t{n}", spec, 512, n - 1 if n else None, tuple(of), n > 0 and not of)
        for n, of in enumerate(users)
    ]
    nodes = [
        GraphNode(
            f"t{n + 1}",
            operator,
            f"{operator} 't{n + 1}'",
            reads[n],
            (n + 1,),
            100_000 if operator in ("MatMul", "Conv") else 128,
        )
        for n, operator in enumerate(operators)
    ]
    return OperatorGraph(tuple(nodes), tuple(tensors))


if __name__ == "__main__":
    main()
