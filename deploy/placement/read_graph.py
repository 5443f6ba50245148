"""An ONNX file -> the graph that the planner divides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from backends.contract import DeployError, Dynamic, Segment, TensorSpec
from deploy.graph.exported import Exported
from deploy.graph.flops import node_flops
from deploy.graph.index import GraphIndex, is_weight
from deploy.graph.loading import load_graph, onnx_rule_errors
from deploy.graph.nodes import bodies, describe_node
from deploy.graph.specs import spec_of
from deploy.partition.cut_points import extract_cut_points
from deploy.placement.operator_graph import GraphNode, GraphTensor, OperatorGraph

_CROSSING = frozenset(  # dtypes that a chain hands from one engine to another
    (
        *("float16", "float32", "float64", "int8", "int16", "int32", "int64"),
        *("uint8", "uint16", "uint32", "uint64", "bool"),
    )
)


def whole_file(segment: Segment) -> Exported:
    """A segment's file as a graph that can be cut at each of its tensors."""
    return Exported(segment.onnx, segment.inputs, segment.outputs, by_name=True)


def read_operator_graph(exported: Exported) -> OperatorGraph:
    """Read the graph of a file that can be cut at each of its tensors.

    Raises:
        DeployError: the file is no ONNX model, or breaks ONNX's rules.
    """
    with onnx_rule_errors(exported):
        model = load_graph(exported, fold=True)
        extract_cut_points(model, exported.marks, by_name=True)
        return _Reader(model, exported).graph()


@dataclass
class _Reader:
    model: ir.Model
    exported: Exported

    def __post_init__(self) -> None:
        self.index = GraphIndex(self.model, same_names_same_sizes=False)
        self.ranges = {
            dim.name: dim
            for spec in self.exported.inputs
            for dim in spec.dims
            if isinstance(dim, Dynamic)
        }
        self.nodes = self._varying_nodes()
        self.numbers = {node: number for number, node in enumerate(self.nodes)}

    def graph(self) -> OperatorGraph:
        tensors = self._tensors()
        numbers = {value: number for number, value in enumerate(tensors)}
        nodes = tuple(self._node(node, numbers) for node in self.nodes)
        consumers: list[list[int]] = [[] for _ in tensors]
        for number, node in enumerate(nodes):
            for tensor in node.reads:
                consumers[tensor].append(number)
        outputs = set(self.model.graph.outputs)
        constant = [str(v.name) for v in self.model.graph.outputs if self.index.is_constant(v)]
        listed = tuple(
            self._tensor(value, tuple(consumers[number]), value in outputs)
            for value, number in numbers.items()
        )
        return OperatorGraph(nodes, listed, tuple(_together(nodes, listed)), tuple(constant))

    def _varying_nodes(self) -> list[ir.Node]:
        """The nodes that the outputs need and that are not the same in every run."""
        needed = {value.producer() for value in self.model.graph.outputs}
        for node in reversed(self.index.nodes):
            if node in needed:
                needed |= {value.producer() for value in self.index.reads[node]}
        constant = self.index.constant
        return [node for node in self.index.nodes if node in needed and node not in constant]

    def _tensors(self) -> list[ir.Value]:
        """The graph's inputs, and the tensors of its nodes that are used."""
        outputs = set(self.model.graph.outputs)
        read = {value for node in self.nodes for value in self.index.reads[node]}
        computed = (value for node in self.nodes for value in node.outputs)
        used = (value for value in computed if value in read or value in outputs)
        return [*self.model.graph.inputs, *used]

    def _node(self, node: ir.Node, numbers: Mapping[ir.Value, int]) -> GraphNode:
        sizes = {name: dim.opt for name, dim in self.ranges.items()}
        reads = dict.fromkeys(self.index.reads[node])
        flops = node_flops(node, sizes)
        return GraphNode(
            output=next(str(v.name) for v in node.outputs if v in numbers),
            operator=node.op_type,
            label=describe_node(node),
            reads=tuple(numbers[value] for value in reads if value in numbers),
            writes=tuple(numbers[value] for value in node.outputs if value in numbers),
            macs=(flops or 0) // 2,
            constants=tuple(dict.fromkeys(self._constants(node))),
            signature=_signature(node),
        )

    def _constants(self, node: ir.Node) -> Iterator[str]:
        pending = list(self.index.reads[node])
        while pending:
            value = pending.pop()
            producer = value.producer()
            if producer is not None and producer in self.index.constant:
                yield str(producer.outputs[0].name)
                pending += self.index.reads[producer]

    def _tensor(self, value: ir.Value, consumers: tuple[int, ...], is_output: bool) -> GraphTensor:
        producer = value.producer()
        spec = self._spec(value)
        return GraphTensor(
            name=str(value.name),
            spec=spec,
            size=_bytes(spec),
            producer=None if producer is None else self.numbers[producer],
            consumers=consumers,
            is_output=is_output,
        )

    def _spec(self, value: ir.Value) -> TensorSpec | None:
        if not value.name or is_weight(value):
            return None
        try:
            spec = spec_of(value, self.ranges, {}, value.name)
        except DeployError:  # a sequence, or a type that nothing tells
            return None
        return spec if spec.dtype in _CROSSING else None


def _signature(node: ir.Node) -> str:
    """The operator, its attributes, and dtype and rank of its inputs; empty with a body."""
    if any(bodies(node)):
        return ""
    inputs = (
        "-" if v is None else f"{v.dtype}/{None if v.shape is None else len(v.shape)}"
        for v in node.inputs
    )
    attributes = (f"{name}={node.attributes[name].value}" for name in sorted(node.attributes))
    return " ".join((f"{node.domain}::{node.op_type}", *inputs, *attributes))


def _bytes(spec: TensorSpec | None) -> int:
    if spec is None or spec.shape is None:
        return 0
    return prod(spec.typical) * np.dtype(spec.dtype).itemsize


def _together(
    nodes: tuple[GraphNode, ...], tensors: tuple[GraphTensor, ...]
) -> Iterator[tuple[int, ...]]:
    """What one segment must hold: each QuantizeLinear with the DequantizeLinear of its result.

    A node that depends on no input goes with what reads it, or with the first that depends on one:
    no segment begins with nothing.
    """
    independent = _independent_nodes(nodes, tensors)
    first = next((n for n in range(len(nodes)) if n not in independent), 0)
    for number, node in enumerate(nodes):
        users = [user for tensor in node.writes for user in tensors[tensor].consumers]
        if node.operator == "QuantizeLinear":
            yield (number, *(user for user in users if nodes[user].operator == "DequantizeLinear"))
        if number in independent:
            yield (number, *(users or [first]))


def _independent_nodes(
    nodes: tuple[GraphNode, ...], tensors: tuple[GraphTensor, ...]
) -> frozenset[int]:
    """The nodes that depend on no input of the graph, such as random ones."""
    independent: set[int] = set()
    for number, node in enumerate(nodes):
        if all(tensors[tensor].producer in independent for tensor in node.reads):
            independent.add(number)
    return frozenset(independent)
