"""Atoms of a graph: the smallest sets of nodes that a segment can hold without the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deploy.placement.operator_graph import OperatorGraph


@dataclass(frozen=True)
class Atoms:
    """The nodes of a graph in sets that no border divides, in topological order.

    Most sets are one node. Nodes between which a tensor goes that no segment can end with are in
    one set, and so is what lies on a path between two nodes of a set.

    Attributes:
        nodes: the numbers of the nodes of each atom, in order.
        of_node: the number of the atom of each node.
    """

    nodes: tuple[tuple[int, ...], ...]
    of_node: tuple[int, ...]

    def tensors_read(self, graph: OperatorGraph, atom: int) -> Iterator[int]:
        """The tensors that the nodes of an atom read; one may come twice."""
        for node in self.nodes[atom]:
            yield from graph.nodes[node].reads

    def tensors_written(self, graph: OperatorGraph, atom: int) -> Iterator[int]:
        """The tensors that the nodes of an atom compute."""
        for node in self.nodes[atom]:
            yield from graph.nodes[node].writes


def find_atoms(graph: OperatorGraph) -> Atoms:
    """Divide a graph into atoms.

    Examples:
        >>> from deploy.placement.operator_graph import GraphNode, GraphTensor
        >>> tensors = (GraphTensor("x", None, 4, None, (0,)), GraphTensor("s", None, 4, 0, (1,)))
        >>> nodes = (GraphNode("s", "SplitToSequence", "", (0,), (1,)),
        ...          GraphNode("y", "SequenceAt", "", (1,), ()))
        >>> find_atoms(OperatorGraph(nodes, tensors)).nodes
        ((0, 1),)
    """
    parents = list(range(len(graph.nodes)))
    for group in (*graph.together, *_around_uncuttable(graph)):
        for node in group[1:]:
            parents[_root(parents, node)] = _root(parents, group[0])
    roots = [_root(parents, node) for node in range(len(parents))]
    edges: list[list[int]] = [[] for _ in roots]
    for node, root in enumerate(roots):
        edges[root] += (roots[user] for user in graph.successors(node) if roots[user] != root)
    components = _strongly_connected([root for root in roots if roots[root] == root], edges)
    component_of_root = {root: number for number, part in enumerate(components) for root in part}
    members: list[list[int]] = [[] for _ in components]
    for node, root in enumerate(roots):
        members[component_of_root[root]].append(node)
    return Atoms(tuple(map(tuple, members)), tuple(component_of_root[root] for root in roots))


def _around_uncuttable(graph: OperatorGraph) -> Iterator[tuple[int, ...]]:
    for tensor in graph.tensors:
        if tensor.spec is None and tensor.producer is not None:
            yield (tensor.producer, *tensor.consumers)


def _root(parents: list[int], node: int) -> int:
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


def _strongly_connected(
    starts: Sequence[int], edges: Sequence[Sequence[int]]
) -> list[tuple[int, ...]]:
    """The strongly connected components, in topological order (Kosaraju's algorithm).

    Those that do not depend on each other are in the order of ``starts``.
    """
    finished = list(_postorder(reversed(starts), edges))
    backwards: dict[int, list[int]] = {start: [] for start in starts}
    for start in starts:
        for target in edges[start]:
            backwards[target].append(start)
    seen: set[int] = set()
    components = (tuple(_postorder([start], backwards, seen)) for start in reversed(finished))
    return [component for component in components if component]


def _postorder(
    starts: Iterator[int] | Sequence[int],
    edges: Sequence[Sequence[int]] | dict[int, list[int]],
    seen: set[int] | None = None,
) -> Iterator[int]:
    seen = set() if seen is None else seen
    for start in starts:
        if start in seen:
            continue
        seen.add(start)
        stack = [(start, iter(edges[start]))]
        while stack:
            vertex, targets = stack[-1]
            target = next((t for t in targets if t not in seen), None)
            if target is None:
                stack.pop()
                yield vertex
            else:
                seen.add(target)
                stack.append((target, iter(edges[target])))
