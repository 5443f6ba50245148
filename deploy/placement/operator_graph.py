"""The graph of a segment as the planner sees it: numbered nodes and the tensors between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from backends.contract import TensorSpec


@dataclass(frozen=True)
class GraphTensor:
    """A tensor that a node computes, or an input of the graph.

    Attributes:
        name: in the graph.
        spec: None where no segment can end with it, such as a sequence.
        size: in bytes, with dynamic dimensions at their typical sizes.
        producer: the number of the node that computes it; None for an input of the graph.
        consumers: the numbers of the nodes that read it, in order.
        is_output: whether it is an output of the graph.
    """

    name: str
    spec: TensorSpec | None
    size: int
    producer: int | None
    consumers: tuple[int, ...]
    is_output: bool = False


@dataclass(frozen=True)
class GraphNode:
    """A node that depends on an input of the graph.

    Attributes:
        output: the name of its first tensor, by which engines and recipes tell it from others.
        operator: its type.
        label: for people, such as ``Conv 'node_conv_1' in module backbone``.
        reads: the numbers of the tensors that it and its bodies read, each once; no constants.
        writes: the numbers of its tensors that are used.
        macs: multiply-adds of one run.
        constants: the first tensors of the nodes whose constant results it needs; whichever engine
            gets the node computes them.
        signature: equal for nodes of one operator with the same attributes and kinds of tensors;
            empty where nothing else is like it.
    """

    output: str
    operator: str
    label: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    macs: int = 0
    constants: tuple[str, ...] = ()
    signature: str = ""


@dataclass(frozen=True)
class OperatorGraph:
    """A graph without what is the same in every run: each engine has its own copy of that.

    Attributes:
        nodes: in topological order.
        tensors: between them, and the inputs of the graph.
        together: sets of nodes that one segment must hold, such as a quantised operator with its
            QuantizeLinear and DequantizeLinear.
        constant_outputs: the names of outputs that are the same in every run.

    Examples:
        >>> x, h, y = (GraphTensor("x", None, 4, None, (0,)), GraphTensor("h", None, 4, 0, (1,)),
        ...            GraphTensor("y", None, 4, 1, (), is_output=True))
        >>> relu, exp = (GraphNode("h", "Relu", "Relu", (0,), (1,)),
        ...              GraphNode("y", "Exp", "Exp", (1,), (2,)))
        >>> graph = OperatorGraph((relu, exp), (x, h, y))
        >>> list(graph.successors(0)), list(graph.predecessors(1))
        ([1], [0])
    """

    nodes: tuple[GraphNode, ...]
    tensors: tuple[GraphTensor, ...]
    together: tuple[tuple[int, ...], ...] = ()
    constant_outputs: tuple[str, ...] = ()

    def predecessors(self, node: int) -> Iterator[int]:
        """The nodes whose tensors a node reads; one may come twice."""
        for tensor in self.nodes[node].reads:
            producer = self.tensors[tensor].producer
            if producer is not None:
                yield producer

    def successors(self, node: int) -> Iterator[int]:
        """The nodes that read a node's tensors; one may come twice."""
        for tensor in self.nodes[node].writes:
            yield from self.tensors[tensor].consumers
