"""Index of an ONNX graph: what each node reads, and which nodes need no input of the model."""

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

# what masks and positions are computed with
_INEXPENSIVE = frozenset(
    (
        *("Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "Constant", "ConstantOfShape"),
        *("Cos", "CumSum", "Div", "Equal", "Expand", "Floor", "Gather", "GatherND", "Greater"),
        *("GreaterOrEqual", "Identity", "IsNaN", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul"),
        *("Neg", "Not", "Or", "Range", "ReduceMax", "ReduceSum", "Reshape", "Shape", "Sign", "Sin"),
        *("Slice", "Split", "Squeeze", "Sub", "Tile", "Transpose", "Trilu", "Unsqueeze", "Where"),
        "Xor",
    )
)
_SMALL = 1 << 16  # elements of a weight that an inexpensive node may use

DimAxes = Mapping[str, tuple[ir.Value, int]]
"""For the name of each dynamic size, a tensor and the axis that has this size."""


@dataclass(frozen=True)
class SizeSource:
    """A Shape node that reads a dynamic size, and a tensor and axis where it can read it."""

    node: ir.Node
    value: ir.Value
    axis: int


class GraphIndex:
    """What the nodes of a model's graph need, in their topological order.

    Attributes:
        nodes: the nodes.
        position: the place of each in that order.
        reads: the values that each needs, with those that its bodies capture.
    """

    def __init__(self, model: ir.Model, *, same_names_same_sizes: bool) -> None:
        self.nodes = list(model.graph)
        self.position = {node: position for position, node in enumerate(self.nodes)}
        self.reads = {node: node_reads(node) for node in self.nodes}
        # true of torch's exporter; other tools call unrelated sizes by one name
        self._same_names_same_sizes = same_names_same_sizes
        self._functions = model.functions

    @cached_property
    def input_independent(self) -> frozenset[ir.Node]:
        """Nodes that depend on no input of the graph."""
        return self._derived(lambda node: True, ())

    @cached_property
    def constant(self) -> frozenset[ir.Node]:
        """Nodes that give the same values in every run."""
        return self._derived(self.is_deterministic, ())

    @cached_property
    def inexpensive(self) -> frozenset[ir.Node]:
        """Nodes that compute a mask or positions from inputs of the graph, without large weights.

        An exporter merges those of several layers into one.
        """
        derived: set[ir.Node] = set()
        for node in self.nodes:
            if node.op_type in _INEXPENSIVE and all(
                v.is_graph_input() or v.producer() in derived or _is_small_weight(v)
                for v in self.reads[node]
            ):
                derived.add(node)
        return frozenset(derived)

    def derived_from_sizes(self, readers: Collection[ir.Node]) -> frozenset[ir.Node]:
        """The nodes ``readers``, which read dynamic sizes, and what follows from them alone.

        Constants count as known.
        """
        return self._derived(self.is_deterministic, readers)

    def is_deterministic(self, node: ir.Node) -> bool:
        """Whether the node gives equal results for equal inputs."""
        if node.op_type == "Dropout":  # random in training mode alone
            return len(node.inputs) < 3 or node.inputs[2] is None
        if node.op_type in _RANDOM:
            return False
        function = self._functions.get(node.op_identifier())
        graphs = [*bodies(node), *([function] if function else [])]
        return all(self.is_deterministic(inner) for graph in graphs for inner in graph)

    def is_constant(self, value: ir.Value) -> bool:
        """Whether the value is a weight or follows from weights alone."""
        return is_weight(value) or value.producer() in self.constant

    def dim_axes(self, values: Collection[ir.Value]) -> DimAxes:
        """Where each dynamic size that the values have can be read."""
        if not self._same_names_same_sizes:
            return {}
        return {
            dim.value: (value, axis)
            for value in values
            for axis, dim in enumerate(value.shape or ())
            if isinstance(dim, ir.SymbolicDim) and dim.value is not None
        }

    def dependents(
        self, values: Collection[ir.Value], nodes: Collection[ir.Node]
    ) -> frozenset[ir.Node]:
        """Those of the nodes, in topological order, that depend on one of the values."""
        dependents: set[ir.Node] = set()
        for node in nodes:
            if any(v in values or v.producer() in dependents for v in self.reads[node]):
                dependents.add(node)
        return frozenset(dependents)

    def _derived(
        self, admits: Callable[[ir.Node], bool], known: Collection[ir.Node]
    ) -> frozenset[ir.Node]:
        """The ``known`` nodes, and those that need nothing but their results and weights."""
        derived = set(known)
        for node in self.nodes:
            if admits(node) and all(
                is_weight(v) or v.producer() in derived for v in self.reads[node]
            ):
                derived.add(node)
        return frozenset(derived)


def size_source(node: ir.Node, axes: DimAxes) -> SizeSource | None:
    """Where among ``axes`` a node that reads one dynamic size can read it."""
    size = _size_read(node) if node.op_type == "Shape" else None
    return SizeSource(node, *axes[size]) if size in axes and size is not None else None


def original_size_source(node: ir.Node) -> SizeSource | None:
    """Where a node reads its one dynamic size now, which another segment may have redirected."""
    size = _size_read(node) if node.op_type == "Shape" else None
    source = node.inputs[0] if size is not None else None
    if source is None:
        return None
    return SizeSource(node, source, node.attributes.get_int("start", 0))


def is_weight(value: ir.Value) -> bool:
    """Whether the value is stored in the file."""
    return value.is_initializer() and not value.is_graph_input()


def _is_small_weight(value: ir.Value) -> bool:
    weight = value.const_value if is_weight(value) else None
    return weight is not None and weight.size <= _SMALL


def _size_read(node: ir.Node) -> str | None:
    """The name of the dynamic size that a Shape node reads, if it reads just one."""
    source = node.inputs[0]
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", None)
    if source is None or source.shape is None or end != start + 1:
        return None
    dim = source.shape[start]
    return dim.value if isinstance(dim, ir.SymbolicDim) else None
