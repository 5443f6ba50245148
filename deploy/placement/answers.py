"""What a preferred engine takes of a graph, by its own word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backends.contract import Segment
from backends.registry import about
from backends.support import RefusedNode, Support
from deploy.convert import parsed_options
from deploy.placement.operator_graph import OperatorGraph
from deploy.placement.plan import EngineAnswers
from deploy.recipe.schema import BackendRecipe

Refusals = Mapping[str, str]
"""Why an engine does not take a node, by the node's first tensor."""


@dataclass(frozen=True)
class EngineWord:
    """What an engine says of the nodes of a graph.

    Attributes:
        refused: its refusals.
        note: what a reader has to know of them, such as whose parser was asked; may be empty.
    """

    refused: Refusals
    note: str = ""


def ask_engine(graph: OperatorGraph, segment: Segment, backend: BackendRecipe) -> EngineWord:
    """Ask an engine what it takes of a segment; slow.

    Args:
        graph: of the segment.
        segment: the segment.
        backend: the engine and its options.
    """
    ask = about(backend.name).support
    if ask is None:
        return EngineWord({}, f"{backend.name} cannot be asked what it takes: it is tried")
    support = ask(segment, parsed_options(backend))
    if support.unknown:
        return EngineWord({}, f"{backend.name} was not asked what it takes: {support.unknown}")
    return EngineWord(_by_output(graph, support.refused), _note(backend.name, support))


def _note(backend: str, support: Support) -> str:
    return f"{backend}: {support.parser} was asked" if "place of" in support.parser else ""


def _by_output(graph: OperatorGraph, refused: tuple[RefusedNode, ...]) -> Refusals:
    inputs = {t.name: t.consumers for t in graph.tensors if t.producer is None}
    reasons: dict[str, str] = {}
    for node in refused:
        if node.output:
            reasons.setdefault(node.output, node.reason)
        elif node.node in inputs and node.operator == "input":
            for reader in inputs[node.node]:
                reasons.setdefault(graph.nodes[reader].output, str(node))
        else:  # the graph as a whole
            for other in graph.nodes:
                reasons.setdefault(other.output, node.reason)
    return reasons


def engine_answers(
    graph: OperatorGraph, engine: str, refused: Refusals, declined: Refusals
) -> EngineAnswers:
    """The refusals of an engine by the numbers of nodes, with its rule for borders.

    Whoever gets a node computes the constants that it needs, so that a refused constant refuses it.

    Args:
        graph: the graph.
        engine: the engine's name.
        refused: what it refuses.
        declined: what it takes and shall not get.
    """
    by_number = {
        number: refused[name]
        for number, node in enumerate(graph.nodes)
        for name in reversed((node.output, *node.constants))
        if name in refused
    }
    obstacle = about(engine).border_obstacle
    borders = {
        number: reason
        for number, tensor in enumerate(graph.tensors)
        if tensor.spec is not None and (reason := obstacle((tensor.spec,), ()))
    }
    not_given = {
        number: declined[node.output]
        for number, node in enumerate(graph.nodes)
        if node.output in declined
    }
    return EngineAnswers(engine, by_number, borders, not_given)
