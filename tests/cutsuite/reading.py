"""Who needs what in an ONNX graph, read from the file alone: none of it is the partition's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import onnx

_RANDOM = ("Bernoulli", "Multinomial", "Random")
Functions = Mapping[tuple[str, str], onnx.FunctionProto]


@dataclass(frozen=True)
class Reading:
    """A graph whose nodes are numbers, in the file's order; sets of nodes are bit masks too.

    Attributes:
        inputs: the graph's inputs that are no weights.
        outputs: the graph's outputs.
        reads: the tensors that each node needs, with what its bodies capture.
        makes: the tensors that each node gives.
        random: nodes that may give something else in each run.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    reads: tuple[tuple[str, ...], ...]
    makes: tuple[tuple[str, ...], ...]
    random: frozenset[int]

    @cached_property
    def maker(self) -> dict[str, int]:
        """The node that gives each tensor."""
        return {name: node for node, names in enumerate(self.makes) for name in names}

    @cached_property
    def constant(self) -> frozenset[int]:
        """Nodes that depend on no input and are not random."""
        found: set[int] = set()
        weight = -1
        for node, names in enumerate(self.reads):
            makers = {self.maker.get(name, weight) for name in names} - {weight}
            if node not in self.random and makers <= found and not {*self.inputs} & {*names}:
                found.add(node)
        return frozenset(found)

    @cached_property
    def free(self) -> frozenset[int]:
        """Nodes that belong to one side of a cut: not constant, and an output needs them."""
        live: set[int] = set()
        pending = list(self.outputs)
        while pending:
            node = self.maker.get(pending.pop())
            if node is not None and node not in live:
                live.add(node)
                pending.extend(self.reads[node])
        return frozenset(live) - self.constant

    @cached_property
    def ancestors(self) -> dict[int, int]:
        """For each free node the mask of the free nodes that it depends on, itself included."""
        masks: dict[int, int] = {}
        for node in sorted(self.free):
            mask = 1 << node
            for name in self.reads[node]:
                mask |= masks.get(self.maker.get(name, -1), 0)
            masks[node] = mask
        return masks

    @cached_property
    def users(self) -> dict[str, int]:
        """For each tensor the mask of the free nodes that read it."""
        masks: dict[str, int] = {}
        for node in self.free:
            for name in self.reads[node]:
                masks[name] = masks.get(name, 0) | 1 << node
        return masks


def read(model: onnx.ModelProto) -> Reading:
    """Read a model."""
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    weights |= {sparse.values.name for sparse in graph.sparse_initializer}
    functions = {(f.domain, f.name): f for f in model.functions}
    return Reading(
        tuple(value.name for value in graph.input if value.name not in weights),
        tuple(value.name for value in graph.output),
        tuple(tuple(_reads(node)) for node in graph.node),
        tuple(tuple(filter(None, node.output)) for node in graph.node),
        frozenset(n for n, node in enumerate(graph.node) if _is_random(node, functions)),
    )


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs in a node's attributes."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _reads(node: onnx.NodeProto) -> list[str]:
    found = dict.fromkeys(filter(None, node.input))
    for body in bodies(node):
        found |= dict.fromkeys(_captured(body))
    return list(found)


def _captured(body: onnx.GraphProto) -> list[str]:
    """What a body needs and does not make itself."""
    made = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
    made |= {sparse.values.name for sparse in body.sparse_initializer}
    made |= {name for node in body.node for name in node.output}
    used = [name for node in body.node for name in _reads(node)]
    return [name for name in (*used, *(v.name for v in body.output)) if name not in made]


def _is_random(node: onnx.NodeProto, functions: Functions) -> bool:
    if node.op_type == "Dropout" and len(node.input) == 3 and node.input[2]:
        return True
    inner = [one for body in bodies(node) for one in body.node]
    function = functions.get((node.domain, node.op_type))
    inner += list(function.node) if function is not None else []
    return node.op_type.startswith(_RANDOM) or any(_is_random(one, functions) for one in inner)
