"""The operators of a segment: their dependencies, and their lines in the PyTorch source."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

import onnx_ir as ir

from backends.bisection import NodeSet, members
from deploy.analysis.accuracy.records import Operator
from deploy.graph.exported import Exported
from deploy.graph.index import GraphIndex, is_weight
from deploy.graph.loading import load_graph

_TORCH = "pkg.torch.onnx."
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
_LIBRARIES = ("site-packages", "dist-packages")
_FLOATS = frozenset((ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16))


@dataclass(frozen=True)
class Operators:
    """The nodes that depend on a segment's inputs, in the graph's order.

    Attributes:
        nodes: the operator of each node.
        ancestors: for each node, those that it needs, and itself.
        inputs: for each node, its input tensors that depend on the segment's inputs.
        segment_inputs: for each node, the segment's inputs that it depends on.
        floats: the nodes whose outputs are all floating-point numbers.
    """

    nodes: tuple[Operator, ...]
    ancestors: tuple[NodeSet, ...]
    inputs: tuple[tuple[str, ...], ...]
    segment_inputs: tuple[tuple[str, ...], ...]
    floats: frozenset[int]

    def producer(self, tensor: str) -> int | None:
        """The number of the node with this output, or None."""
        numbers = (n for n, node in enumerate(self.nodes) if tensor in node.tensors)
        return next(numbers, None)

    def candidates(self, last: int, known: Collection[str]) -> list[list[int]]:
        """The nodes to probe, in tiers: those of floating-point outputs, then the others.

        Args:
            last: a node; it and all that it needs are candidates.
            known: the tensors of the converted graph. A node with other outputs is none.
        """
        numbers = [n for n in members(self.ancestors[last]) if self._is_known(n, known)]
        floats = [n for n in numbers if n in self.floats]
        return [floats, [n for n in numbers if n not in self.floats]]

    def _is_known(self, number: int, known: Collection[str]) -> bool:
        tensors = self.nodes[number].tensors
        return bool(tensors) and all(name in known for name in tensors)


def read_operators(exported: Exported) -> Operators:
    """The operators of a segment's graph.

    Raises:
        DeployError: the file is no ONNX model.
    """
    model = load_graph(exported)
    index = GraphIndex(model, same_names_same_sizes=False)
    nodes = [node for node in index.nodes if node not in index.input_independent]
    numbers = {node: number for number, node in enumerate(nodes)}
    inputs = tuple(_input_names(index.reads[node], numbers) for node in nodes)
    graph_inputs = {str(value.name) for value in model.graph.inputs}
    ancestors: list[NodeSet] = []
    segment_inputs: list[set[str]] = []
    for number, node in enumerate(nodes):
        producers = _producers(index.reads[node], numbers)
        ancestors.append(reduce(or_, (ancestors[producer] for producer in producers), 1 << number))
        own_inputs = graph_inputs.intersection(inputs[number])
        segment_inputs.append(
            own_inputs.union(*(segment_inputs[producer] for producer in producers))
        )
    return Operators(
        nodes=tuple(map(_operator, nodes)),
        ancestors=tuple(ancestors),
        inputs=inputs,
        segment_inputs=tuple(tuple(sorted(names)) for names in segment_inputs),
        floats=frozenset(number for number, node in enumerate(nodes) if _is_float(node)),
    )


def _producers(reads: Sequence[ir.Value], numbers: Mapping[ir.Node, int]) -> set[int]:
    producers = (value.producer() for value in reads)
    return {numbers[node] for node in producers if node is not None and node in numbers}


def _input_names(reads: Sequence[ir.Value], numbers: Collection[ir.Node]) -> tuple[str, ...]:
    names = [
        str(value.name)
        for value in reads
        if value.producer() in numbers or (value.is_graph_input() and not is_weight(value))
    ]
    return tuple(dict.fromkeys(names))


def _is_float(node: ir.Node) -> bool:
    return all(value.dtype in _FLOATS for value in _used_outputs(node))


def _used_outputs(node: ir.Node) -> list[ir.Value]:
    return [
        value for value in node.outputs if value.name and (value.uses() or value.is_graph_output())
    ]


def _operator(node: ir.Node) -> Operator:
    tensors = tuple(str(value.name) for value in _used_outputs(node))
    return Operator(
        name=node.name or next(iter(tensors), ""),
        kind=node.op_type,
        tensors=tensors,
        module=_innermost_module(node, "name_scopes"),
        module_type=_innermost_module(node, "class_hierarchy"),
        source=_source_line(node.metadata_props.get(f"{_TORCH}stack_trace", "")),
    )


def _innermost_module(node: ir.Node, key: str) -> str:
    """The last entry but one of the exporter's list; the last one is the operation's own."""
    try:
        entries = ast.literal_eval(node.metadata_props.get(f"{_TORCH}{key}", "[]"))
        return str(entries[-2])
    except (ValueError, SyntaxError, IndexError):
        return ""


def _source_line(stack_trace: str) -> str:
    """The innermost line outside libraries, such as ``net.py:12``."""
    frames = [
        f"{frame['file']}:{frame['line']}"
        for frame in _FRAME.finditer(stack_trace)
        if not any(library in frame["file"] for library in _LIBRARIES)
    ]
    return frames[-1] if frames else ""
