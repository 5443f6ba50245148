"""Plans of small random graphs against the best that an exhaustive search finds."""

from __future__ import annotations

import random
from collections.abc import Sequence

from deploy.placement.atoms import find_atoms
from deploy.placement.operator_graph import OperatorGraph
from deploy.placement.plan import EngineAnswers, PlanLimits
from deploy.placement.planner import plan_placement
from deploy.placement.regions import AtomGraph
from tests.placement.graphs import random_graph


def fewest_regions(graph: OperatorGraph, engine_of: Sequence[int]) -> int:
    """The fewest regions of a graph whose nodes have engines, over all orders."""
    before = [frozenset(graph.predecessors(node)) for node in range(len(graph.nodes))]
    reached, count = {frozenset[int]()}, 0
    while not any(len(done) == len(before) for done in reached):
        grown = {_run(done, e, engine_of, before) for done in reached for e in set(engine_of)}
        reached = {done for done in grown if not any(done < other for other in grown)}
        count += 1
    return count


def _run(
    done: frozenset[int], engine: int, engine_of: Sequence[int], before: Sequence[frozenset[int]]
) -> frozenset[int]:
    """All nodes that have run when an engine has run all it can."""
    reached = set(done)
    for node, own in enumerate(engine_of):  # in topological order
        if own == engine and before[node] <= reached:
            reached.add(node)
    return frozenset(reached)


def surplus_regions(engines: int, graphs: int) -> list[int]:
    """For each of some graphs, the regions of a draft beyond the fewest."""
    surplus = []
    for seed in range(graphs):
        draw = random.Random(seed)
        graph = random_graph(draw.choice([8, 14, 25]), seed, draw.choice([0.2, 0.5, 1.5]))
        engine_of = [draw.randrange(engines) for _ in graph.nodes]
        atoms = find_atoms(graph)
        draft = AtomGraph(graph, atoms).draft([engine_of[atom[0]] for atom in atoms.nodes])
        surplus.append(len(draft.engines) - fewest_regions(graph, engine_of))
    return surplus


def test_two_engines_have_the_fewest_regions():
    assert set(surplus_regions(2, 80)) == {0}


def test_three_engines_seldom_have_a_region_too_many():
    assert sum(map(bool, surplus_regions(3, 80))) <= 8


def most_macs(graph: OperatorGraph, taken: Sequence[int], most: int) -> int:
    """The most multiply-adds that an engine can have in a number of regions."""
    found = 0
    for chosen in range(1 << len(taken)):
        own = {node for place, node in enumerate(taken) if chosen >> place & 1}
        macs = sum(graph.nodes[node].macs for node in own)
        if macs > found:
            engine_of = [int(node not in own) for node in range(len(graph.nodes))]
            if fewest_regions(graph, engine_of) <= most:
                found = macs
    return found


def test_the_preferred_engine_keeps_most_of_what_a_limit_on_segments_allows():
    kept, possible = 0, 0
    for seed in range(40):
        draw = random.Random(seed)
        graph = random_graph(9, seed, draw.choice([0.2, 0.5, 1.5]))
        refused = {node: "no kernel" for node in range(9) if draw.random() < 0.3}
        most = draw.choice([1, 2, 3, 4])
        engines = [EngineAnswers("fast", refused), EngineAnswers("general")]
        plan = plan_placement(graph, engines, PlanLimits(1, most, 0))
        assert len(plan.regions) <= most
        own = [node for region in plan.regions if not region.engine for node in region.nodes]
        kept += sum(graph.nodes[node].macs for node in own)
        possible += most_macs(graph, [node for node in range(9) if node not in refused], most)
    assert kept >= 0.93 * possible
