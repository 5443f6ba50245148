"""The operators of a segment: who needs whom, and where in the PyTorch source they come from."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

import onnx_ir as ir

from deploy.analysis.accuracy.records import Operator
from deploy.graph.exported import Exported
from deploy.graph.index import GraphIndex, is_weight
from deploy.graph.loading import load_graph

_TORCH = "pkg.torch.onnx."


_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


_LIBRARIES = ("site-packages", "dist-packages")


_FLOATS = frozenset((ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16))


Nodes = int
"""A set of nodes: bit ``n`` is node ``n``."""


@dataclass(frozen=True)
class Operators:
    """The nodes that depend on a segment's inputs, in the graph's order.

    Attributes:
        nodes: what each is.
        before: for each, those that it needs, and itself.
        takes: for each, the tensors that it takes and that depend on the inputs.
        starts: for each, the segment's inputs that it depends on.
        floats: those that give nothing but floating-point numbers.
    """

    nodes: tuple[Operator, ...]
    before: tuple[Nodes, ...]
    takes: tuple[tuple[str, ...], ...]
    starts: tuple[tuple[str, ...], ...]
    floats: frozenset[int]

    def maker(self, tensor: str) -> int | None:
        """The number of the node that gives a tensor, if any of these does."""
        numbers = (n for n, node in enumerate(self.nodes) if tensor in node.tensors)
        return next(numbers, None)

    def tiers(self, last: int, known: Collection[str]) -> list[list[int]]:
        """Whose results can be compared: floating-point numbers first.

        Args:
            last: with all that it needs.
            known: the tensors that are there in the converted graph too.
        """
        found = [n for n in members(self.before[last]) if self._is_there(n, known)]
        return [[n for n in found if n in self.floats], [n for n in found if n not in self.floats]]

    def _is_there(self, number: int, known: Collection[str]) -> bool:
        tensors = self.nodes[number].tensors
        return bool(tensors) and all(name in known for name in tensors)


def read_operators(exported: Exported) -> Operators:
    """The operators of a segment's graph.

    Raises:
        DeployError: the file is no ONNX model.
    """
    model = load_graph(exported)
    anatomy = GraphIndex(model, same_names_same_sizes=False)
    nodes = [node for node in anatomy.nodes if node not in anatomy.input_independent]
    number = {node: index for index, node in enumerate(nodes)}
    takes = tuple(tuple(dict.fromkeys(_taken(anatomy.reads[node], number))) for node in nodes)
    makers = [_makers(anatomy.reads[node], number) for node in nodes]
    inputs = {str(value.name) for value in model.graph.inputs}
    before: list[Nodes] = []
    starts: list[set[str]] = []
    for index, own in enumerate(makers):
        before.append(reduce(or_, (before[maker] for maker in own), 1 << index))
        starts.append(inputs.intersection(takes[index]).union(*(starts[maker] for maker in own)))
    floats = frozenset(index for index, node in enumerate(nodes) if _is_float(node))
    sorted_starts = tuple(tuple(sorted(names)) for names in starts)
    return Operators(tuple(map(_operator, nodes)), tuple(before), takes, sorted_starts, floats)


def _makers(reads: Sequence[ir.Value], number: Mapping[ir.Node, int]) -> set[int]:
    producers = (value.producer() for value in reads)
    return {number[node] for node in producers if node is not None and node in number}


def _taken(reads: Sequence[ir.Value], number: Collection[ir.Node]) -> list[str]:
    return [
        str(value.name)
        for value in reads
        if value.producer() in number or (value.is_graph_input() and not is_weight(value))
    ]


def _is_float(node: ir.Node) -> bool:
    return all(value.dtype in _FLOATS for value in _given(node))


def _given(node: ir.Node) -> list[ir.Value]:
    """What a node gives and somebody uses."""
    return [
        value for value in node.outputs if value.name and (value.uses() or value.is_graph_output())
    ]


def _operator(node: ir.Node) -> Operator:
    scopes, classes = _path(node, "name_scopes"), _path(node, "class_hierarchy")
    tensors = tuple(str(value.name) for value in _given(node))
    return Operator(
        node.name or next(iter(tensors), ""),
        node.op_type,
        tensors,
        scopes,
        classes,
        _source(node.metadata_props.get(f"{_TORCH}stack_trace", "")),
    )


def _path(node: ir.Node, key: str) -> str:
    """The innermost module; the last entry is the operation's own."""
    try:
        entries = ast.literal_eval(node.metadata_props.get(f"{_TORCH}{key}", "[]"))
        return str(entries[-2])
    except (ValueError, SyntaxError, IndexError):
        return ""


def _source(trace: str) -> str:
    """The last line outside libraries, such as ``net.py:12``."""
    frames = [
        f"{found['file']}:{found['line']}"
        for found in _FRAME.finditer(trace)
        if not any(library in found["file"] for library in _LIBRARIES)
    ]
    return frames[-1] if frames else ""


def members(nodes: Nodes) -> list[int]:
    """The nodes of a set, in order."""
    return [node for node in range(nodes.bit_length()) if nodes >> node & 1]
