"""What a model is before it is cut: its marks, and where it may be cut in two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from backends.contract import Dynamic, TensorSpec
from deploy.analysis.flops import node_flops
from deploy.graph.exported import Exported
from deploy.graph.index import GraphIndex, is_weight
from deploy.graph.loading import load_graph, onnx_rule_errors
from deploy.graph.points import Point
from deploy.graph.specs import spec_of
from deploy.partition.cut_points import CutPoints, extract_cut_points

Members = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Cost:
    """What a part of a model costs.

    Attributes:
        parameters: numbers stored in its weights.
        flops: floating-point operations of one run, two for a multiply-add.
        unknown: nodes whose operations could not be counted.
    """

    parameters: int
    flops: int
    unknown: int


@dataclass(frozen=True)
class CutCandidate:
    """A place to cut.

    Attributes:
        point: how a recipe names it.
        tensors: the specs of what crosses there.
        legal: whether nothing else would have to cross.
        slips: some of the tensors that would.
        before: what comes before it.
        after: what is left behind it.
    """

    point: str
    tensors: tuple[TensorSpec, ...]
    legal: bool
    slips: tuple[str, ...]
    before: Cost
    after: Cost


@dataclass(frozen=True)
class ModelSurvey:
    """A model.

    Attributes:
        marks: every point of its marks, in the order of the data flow.
        tensors: every single tensor at which it may be cut, without looking at marks.
        dropped: marked tensors that the exporter left out.
        total: what the whole costs.
        nodes: how many operations it has.
    """

    marks: tuple[CutCandidate, ...]
    tensors: tuple[CutCandidate, ...]
    dropped: tuple[str, ...]
    total: Cost
    nodes: int


def survey(exported: Exported) -> ModelSurvey:
    """Look at a model.

    Raises:
        DeployError: the file is no ONNX model, or its weights lie where they must not.
    """
    with onnx_rule_errors(exported):
        return _survey(exported)


def _survey(exported: Exported) -> ModelSurvey:
    model = load_graph(exported)
    places = extract_cut_points(model, exported.marks, by_name=exported.by_name)
    scales = _CutCosts(model, exported)
    return ModelSurvey(
        marks=tuple(_mark_points(places, scales)),
        tensors=tuple(_tensor_points(places, scales)),
        dropped=tuple(sorted(map(str, places.dropped))),
        total=scales.load(np.ones(len(scales.nodes), np.bool_)),
        nodes=len(list(model.graph)),
    )


def _mark_points(places: CutPoints, scales: _CutCosts) -> Iterator[CutCandidate]:
    groups: dict[str, dict[ir.Value, str]] = {}
    for at, value in places.marks.items():
        group = groups.setdefault(str(Point(at.mark, at.call, at.side)), {})
        group.setdefault(value, at.path)
    for point, values in groups.items():
        if any(scales.depends(value) for value in values):
            yield scales.cut(point, values)


def _tensor_points(places: CutPoints, scales: _CutCosts) -> Iterator[CutCandidate]:
    for name, value in places.tensors.items():
        if scales.depends(value) and isinstance(value.type, ir.TensorType):
            found = scales.cut(name, {value: name})
            if found.legal and found.after.flops + found.after.unknown:
                yield found


class _CutCosts:
    """Which nodes come before a tensor, and what they weigh.

    Nodes that depend on no input are nobody's: every part has its own copy.
    """

    def __init__(self, model: ir.Model, exported: Exported) -> None:
        anatomy = GraphIndex(model, same_names_same_sizes=not exported.by_name)
        dims = [dim for spec in exported.inputs for dim in spec.dims]
        self._spans = {dim.name: dim for dim in dims if isinstance(dim, Dynamic)}
        sizes = {name: span.opt for name, span in self._spans.items()}
        self.nodes = _live(anatomy, model.graph.outputs)
        self._number = {node: number for number, node in enumerate(self.nodes)}
        self._users = _users(anatomy, self.nodes)
        flops = [node_flops(node, sizes) for node in self.nodes]
        self._flops = np.array([count or 0 for count in flops], np.int64)
        self._unknown = np.array([count is None for count in flops], np.int64)
        self._parameters = np.array(list(_parameters(anatomy, self.nodes)), np.int64)
        made = [sum(len(self._users.get(v, ())) for v in node.outputs) for node in self.nodes]
        used = [
            len({v for v in anatomy.reads[node] if v.producer() in self._number})
            for node in self.nodes
        ]
        self._surplus = np.array(made, np.int64) - np.array(used, np.int64)
        self._before = self._ancestors(anatomy)

    def depends(self, value: ir.Value) -> bool:
        """Whether the value is computed from the model's inputs."""
        return value.producer() in self._number

    def cut(self, point: str, values: Mapping[ir.Value, str]) -> CutCandidate:
        """The model cut in two at these values."""
        members = self._members(values)
        made = filter(self.depends, values)  # inputs of the graph are there for every part
        own = sum(not members[user] for value in made for user in self._users.get(value, ()))
        legal = int(self._surplus @ members) == own
        return CutCandidate(
            point,
            tuple(spec_of(value, self._spans, {}, name) for value, name in values.items()),
            legal,
            () if legal else tuple(self._slips(members, values)),
            self.load(members),
            self.load(~members),
        )

    def load(self, members: Members) -> Cost:
        """What these nodes cost."""
        figures = (self._parameters, self._flops, self._unknown)
        return Cost(*(int(figure @ members) for figure in figures))

    def _members(self, values: Mapping[ir.Value, str]) -> Members:
        members = np.zeros(len(self.nodes), np.bool_)
        for value in values:
            producer = value.producer()
            if producer in self._number and producer is not None:
                members |= self._before[self._number[producer]]
        return members

    def _slips(self, members: Members, values: Mapping[ir.Value, str]) -> Iterator[str]:
        for number in np.flatnonzero(members):
            for value in self.nodes[number].outputs:
                leaves = any(not members[user] for user in self._users.get(value, ()))
                if leaves and value not in values:
                    yield str(value.name)

    def _ancestors(self, anatomy: GraphIndex) -> npt.NDArray[np.bool_]:
        """For each node, the nodes that it needs and itself (nodes, nodes)."""
        before = np.eye(len(self.nodes), dtype=np.bool_)
        for number, node in enumerate(self.nodes):
            for value in anatomy.reads[node]:
                producer = value.producer()
                if producer in self._number and producer is not None:
                    before[number] |= before[self._number[producer]]
        return before


def _live(anatomy: GraphIndex, outputs: Sequence[ir.Value]) -> list[ir.Node]:
    """The nodes that the outputs need and that depend on an input."""
    needed = {value.producer() for value in outputs}
    for node in reversed(anatomy.nodes):
        if node in needed:
            needed |= {value.producer() for value in anatomy.reads[node]}
    return [
        node for node in anatomy.nodes if node in needed and node not in anatomy.input_independent
    ]


def _users(anatomy: GraphIndex, nodes: Sequence[ir.Node]) -> dict[ir.Value, list[int]]:
    users: dict[ir.Value, list[int]] = {}
    for number, node in enumerate(nodes):
        for value in dict.fromkeys(anatomy.reads[node]):
            users.setdefault(value, []).append(number)
    return users


def _parameters(anatomy: GraphIndex, nodes: Sequence[ir.Node]) -> Iterator[int]:
    """The stored numbers that each node needs; shared ones count at the first that does."""
    seen: set[ir.Value] = set()
    for node in nodes:
        count, pending = 0, list(anatomy.reads[node])
        while pending:
            value = pending.pop()
            if value in seen or not anatomy.is_constant(value):
                continue
            seen.add(value)
            if is_weight(value):
                count += value.const_value.size if value.const_value is not None else 0
            else:
                pending.extend(_reads_of_producer(anatomy, value))
        yield count


def _reads_of_producer(anatomy: GraphIndex, value: ir.Value) -> Sequence[ir.Value]:
    producer = value.producer()
    return anatomy.reads[producer] if producer is not None else ()
