"""A survey of a model before it is cut: its marks, its cut candidates and their costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from backends.contract import Dynamic, TensorSpec
from deploy.graph.exported import Exported
from deploy.graph.flops import node_flops
from deploy.graph.index import GraphIndex, is_weight
from deploy.graph.loading import load_graph, onnx_rule_errors
from deploy.graph.points import Point
from deploy.graph.specs import spec_of
from deploy.partition.cut_points import CutPoints, extract_cut_points

Members = npt.NDArray[np.bool_]
"""Which nodes are in a part of the model, (nodes,)."""


@dataclass(frozen=True)
class Cost:
    """The cost of a part of a model.

    Attributes:
        parameters: elements of its weights.
        flops: floating-point operations of one run, two for a multiply-add.
        unknown: nodes whose operations could not be counted.
    """

    parameters: int
    flops: int
    unknown: int


@dataclass(frozen=True)
class CutCandidate:
    """A cut point and the two parts of the model that it gives.

    Attributes:
        point: its name in a recipe.
        tensors: the specs of its boundary tensors.
        legal: whether no other tensor crosses the cut.
        slips: the other tensors that cross it.
        before: the cost of the part before the cut.
        after: the cost of the part after the cut.
    """

    point: str
    tensors: tuple[TensorSpec, ...]
    legal: bool
    slips: tuple[str, ...]
    before: Cost
    after: Cost


@dataclass(frozen=True)
class ModelSurvey:
    """The cut candidates of a model.

    Attributes:
        marks: every point of its marks, in the order of the data flow.
        tensors: every single tensor at which it may be cut, marked or not.
        dropped: marked tensors that the exporter removed.
        total: the cost of the whole model.
        nodes: its number of operations.
    """

    marks: tuple[CutCandidate, ...]
    tensors: tuple[CutCandidate, ...]
    dropped: tuple[str, ...]
    total: Cost
    nodes: int


def survey(exported: Exported) -> ModelSurvey:
    """List the marks and the cut candidates of a model, with their costs.

    Raises:
        DeployError: the file is no ONNX model, or its weights are outside its folder.
    """
    with onnx_rule_errors(exported):
        return _survey(exported)


def _survey(exported: Exported) -> ModelSurvey:
    model = load_graph(exported, fold=True)
    points = extract_cut_points(model, exported.marks, by_name=exported.by_name)
    costs = _CutCosts(model, exported)
    return ModelSurvey(
        marks=tuple(_mark_candidates(points, costs)),
        tensors=tuple(_tensor_candidates(points, costs)),
        dropped=tuple(sorted(map(str, points.dropped))),
        total=costs.cost(np.ones(len(costs.nodes), np.bool_)),
        nodes=len(list(model.graph)),
    )


def _mark_candidates(points: CutPoints, costs: _CutCosts) -> Iterator[CutCandidate]:
    by_side: dict[str, dict[ir.Value, str]] = {}
    for point, value in points.marks.items():
        values = by_side.setdefault(str(Point(point.mark, point.call, point.side)), {})
        values.setdefault(value, point.path)
    for name, values in by_side.items():
        if any(costs.is_computed(value) for value in values):
            yield costs.cut(name, values)


def _tensor_candidates(points: CutPoints, costs: _CutCosts) -> Iterator[CutCandidate]:
    for name, value in points.tensors.items():
        if costs.is_computed(value) and isinstance(value.type, ir.TensorType):
            candidate = costs.cut(name, {value: name})
            if candidate.legal and candidate.after.flops + candidate.after.unknown:
                yield candidate


class _CutCosts:
    """The nodes before each tensor, and their costs.

    Nodes that depend on no input belong to neither part: each part has its own copy.
    """

    def __init__(self, model: ir.Model, exported: Exported) -> None:
        index = GraphIndex(model, same_names_same_sizes=not exported.by_name)
        dims = [dim for spec in exported.inputs for dim in spec.dims]
        self._dynamic = {dim.name: dim for dim in dims if isinstance(dim, Dynamic)}
        sizes = {name: dim.opt for name, dim in self._dynamic.items()}
        self.nodes = _live_nodes(index, model.graph.outputs)
        self._number = {node: number for number, node in enumerate(self.nodes)}
        self._users = _users(index, self.nodes)
        flops = [node_flops(node, sizes) for node in self.nodes]
        self._flops = np.array([count or 0 for count in flops], np.int64)
        self._unknown = np.array([count is None for count in flops], np.int64)
        self._parameters = np.array(list(_parameters(index, self.nodes)), np.int64)
        edges_out = [sum(len(self._users.get(v, ())) for v in node.outputs) for node in self.nodes]
        edges_in = [
            len({v for v in index.reads[node] if v.producer() in self._number})
            for node in self.nodes
        ]
        # summed over a part that is closed under ancestors: the edges that leave it
        self._excess_edges = np.array(edges_out, np.int64) - np.array(edges_in, np.int64)
        self._ancestors = self._compute_ancestors(index)

    def is_computed(self, value: ir.Value) -> bool:
        """Whether the value is computed from the model's inputs."""
        return value.producer() in self._number

    def cut(self, point: str, values: Mapping[ir.Value, str]) -> CutCandidate:
        """The model cut in two at these values, each with its name in the point."""
        members = self._members(values)
        computed = filter(self.is_computed, values)  # both parts have the inputs of the graph
        own = sum(not members[user] for value in computed for user in self._users.get(value, ()))
        legal = int(self._excess_edges @ members) == own
        return CutCandidate(
            point,
            tuple(spec_of(value, self._dynamic, {}, name) for value, name in values.items()),
            legal,
            () if legal else tuple(self._crossing(members, values)),
            self.cost(members),
            self.cost(~members),
        )

    def cost(self, members: Members) -> Cost:
        """The cost of these nodes."""
        per_node = (self._parameters, self._flops, self._unknown)
        return Cost(*(int(counts @ members) for counts in per_node))

    def _members(self, values: Mapping[ir.Value, str]) -> Members:
        members = np.zeros(len(self.nodes), np.bool_)
        for value in values:
            producer = value.producer()
            if producer in self._number and producer is not None:
                members |= self._ancestors[self._number[producer]]
        return members

    def _crossing(self, members: Members, values: Mapping[ir.Value, str]) -> Iterator[str]:
        """The names of the tensors that cross a cut beside its own."""
        for number in np.flatnonzero(members):
            for value in self.nodes[number].outputs:
                leaves = any(not members[user] for user in self._users.get(value, ()))
                if leaves and value not in values:
                    yield str(value.name)

    def _compute_ancestors(self, index: GraphIndex) -> npt.NDArray[np.bool_]:
        """For each node, the nodes that it needs and itself (nodes, nodes)."""
        ancestors = np.eye(len(self.nodes), dtype=np.bool_)
        for number, node in enumerate(self.nodes):
            for value in index.reads[node]:
                producer = value.producer()
                if producer in self._number and producer is not None:
                    ancestors[number] |= ancestors[self._number[producer]]
        return ancestors


def _live_nodes(index: GraphIndex, outputs: Sequence[ir.Value]) -> list[ir.Node]:
    """The nodes that the outputs need and that depend on an input."""
    needed = {value.producer() for value in outputs}
    for node in reversed(index.nodes):
        if node in needed:
            needed |= {value.producer() for value in index.reads[node]}
    live = (node for node in index.nodes if node in needed)
    return [node for node in live if node not in index.input_independent]


def _users(index: GraphIndex, nodes: Sequence[ir.Node]) -> dict[ir.Value, list[int]]:
    users: dict[ir.Value, list[int]] = {}
    for number, node in enumerate(nodes):
        for value in dict.fromkeys(index.reads[node]):
            users.setdefault(value, []).append(number)
    return users


def _parameters(index: GraphIndex, nodes: Sequence[ir.Node]) -> Iterator[int]:
    """The elements of the weights that each node needs; shared weights count at the first node."""
    seen: set[ir.Value] = set()
    for node in nodes:
        count, pending = 0, list(index.reads[node])
        while pending:
            value = pending.pop()
            if value in seen or not index.is_constant(value):
                continue
            seen.add(value)
            if is_weight(value):
                count += value.const_value.size if value.const_value is not None else 0
            else:
                pending.extend(_reads_of_producer(index, value))
        yield count


def _reads_of_producer(index: GraphIndex, value: ir.Value) -> Sequence[ir.Value]:
    producer = value.producer()
    return index.reads[producer] if producer is not None else ()
