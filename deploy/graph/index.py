"""Who needs what in an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

from deploy.graph.nodes import bodies, node_reads

_RANDOM = frozenset(
    (
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    )
)


SizeAxes = Mapping[str, tuple[ir.Value, int]]


@dataclass(frozen=True)
class SizeSource:
    """A node that reads a dynamic size, and another tensor and axis that have the same size."""

    node: ir.Node
    value: ir.Value
    axis: int


class GraphIndex:
    """Who needs what in a model's graph, whose nodes are in topological order.

    Attributes:
        nodes: the nodes.
        number: the place of each in that order.
        reads: what each needs, with what its bodies capture.
    """

    def __init__(self, model: ir.Model, *, same_names_same_sizes: bool) -> None:
        self.nodes = list(model.graph)
        self.number = {node: number for number, node in enumerate(self.nodes)}
        self.reads = {node: node_reads(node) for node in self.nodes}
        # true of torch's exporter; other tools call unrelated sizes by one name
        self._same_names_same_sizes = same_names_same_sizes
        self._functions = model.functions

    @cached_property
    def rootless(self) -> frozenset[ir.Node]:
        """Nodes that depend on no input of the graph."""
        return self._following(lambda node: True, ())

    @cached_property
    def constant(self) -> frozenset[ir.Node]:
        """Nodes that give the same values in every run."""
        return self._following(self.repeats, ())

    def sizes(self, anchors: Collection[ir.Node]) -> frozenset[ir.Node]:
        """Nodes that follow from dynamic sizes, which ``anchors`` read, and from constants."""
        return self._following(self.repeats, anchors)

    def repeats(self, node: ir.Node) -> bool:
        """Whether the node gives equal results for equal inputs."""
        if node.op_type == "Dropout":  # random in training mode alone
            return len(node.inputs) < 3 or node.inputs[2] is None
        if node.op_type in _RANDOM:
            return False
        function = self._functions.get(node.op_identifier())
        inner = [*bodies(node), *([function] if function else [])]
        return all(self.repeats(one) for body in inner for one in body)

    def axes(self, values: Collection[ir.Value]) -> SizeAxes:
        """For each dynamic size that the values have, one of them and its axis."""
        if not self._same_names_same_sizes:
            return {}
        return {
            dim.value: (value, axis)
            for value in values
            for axis, dim in enumerate(value.shape or ())
            if isinstance(dim, ir.SymbolicDim) and dim.value is not None
        }

    def is_constant(self, value: ir.Value) -> bool:
        """Whether the value is a weight or follows from weights alone."""
        return is_weight(value) or value.producer() in self.constant

    def after(self, values: Collection[ir.Value]) -> frozenset[ir.Node]:
        """Nodes that depend on one of the values."""
        found: set[ir.Node] = set()
        for node in self.nodes:
            if any(v in values or v.producer() in found for v in self.reads[node]):
                found.add(node)
        return frozenset(found)

    def _following(
        self, admits: Callable[[ir.Node], bool], given: Collection[ir.Node]
    ) -> frozenset[ir.Node]:
        """Nodes that need nothing but weights and what the nodes ``given`` make."""
        found = set(given)
        for node in self.nodes:
            if admits(node) and all(
                is_weight(v) or v.producer() in found for v in self.reads[node]
            ):
                found.add(node)
        return frozenset(found)


def size_source(node: ir.Node, axes: SizeAxes) -> SizeSource | None:
    """How a node that reads one dynamic size can learn it from ``axes``."""
    size = _size_read(node) if node.op_type == "Shape" else None
    return SizeSource(node, *axes[size]) if size in axes and size is not None else None


def own_size_source(node: ir.Node) -> SizeSource | None:
    """How a node that could be anchored reads its size now, should another piece anchor it."""
    size = _size_read(node) if node.op_type == "Shape" else None
    source = node.inputs[0] if size is not None else None
    return (
        SizeSource(node, source, node.attributes.get_int("start", 0))
        if source is not None
        else None
    )


def is_weight(value: ir.Value) -> bool:
    """Whether the value is stored in the file."""
    return value.is_initializer() and not value.is_graph_input()


def _size_read(node: ir.Node) -> str | None:
    """The dynamic size that a Shape node reads, if it reads just one."""
    source = node.inputs[0]
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", None)
    if source is None or source.shape is None or end != start + 1:
        return None
    dim = source.shape[start]
    return dim.value if isinstance(dim, ir.SymbolicDim) else None
