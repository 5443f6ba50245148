"""Who needs what in an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

from deploy.graph import reads

_RANDOM = frozenset(
    ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial")
)


@dataclass(frozen=True)
class Anchor:
    """A node that reads a dynamic size, and another tensor and axis that have the same size."""

    node: ir.Node
    value: ir.Value
    axis: int


class Anatomy:
    """Who needs what in a graph whose nodes are in topological order."""

    def __init__(self, graph: ir.Graph) -> None:
        self.nodes = list(graph)
        self.reads = {node: reads(node) for node in self.nodes}

    @cached_property
    def rootless(self) -> frozenset[ir.Node]:
        """Nodes that depend on no input of the graph."""
        return self._following(lambda node: True, ())

    @cached_property
    def constant(self) -> frozenset[ir.Node]:
        """Nodes that give the same values in every run."""
        return self._following(lambda node: node.op_type not in _RANDOM, ())

    def sizes(self, anchors: Collection[ir.Node]) -> frozenset[ir.Node]:
        """Nodes that follow from dynamic sizes, which ``anchors`` read, and from constants."""
        return self._following(lambda node: node.op_type not in _RANDOM, anchors)

    def anchors(self, values: Collection[ir.Value]) -> dict[ir.Node, Anchor]:
        """The nodes that read a dynamic size which one of the values has too."""
        axes = {
            dim.value: (value, axis)
            for value in values
            for axis, dim in enumerate(value.shape or ())
            if isinstance(dim, ir.SymbolicDim) and dim.value is not None
        }
        sizes = {node: _size_read(node) for node in self.nodes if node.op_type == "Shape"}
        return {node: Anchor(node, *axes[size]) for node, size in sizes.items() if size in axes}

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
