"""Names of the weights that ONNX Runtime adds to a graph while it optimizes it.

The names start anew with each session. A file that was optimized once is optimized again when it is
loaded, and a fusion then fails on a weight that has the name of its own new one already.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx

_PREFIX = "added/"


def rename_added_weights(source: Path, optimized: Path) -> None:
    """Give weights of the optimized file that its source does not have names of their own."""
    known = set(_names(onnx.load(source, load_external_data=False).graph))
    model = onnx.load(optimized, load_external_data=False)
    graph = model.graph
    known.update(value.name for value in graph.output)
    names = {
        weight.name: f"{_PREFIX}{number}"
        for number, weight in enumerate(graph.initializer)
        if weight.name not in known
    }
    if not names:
        return
    for weight in graph.initializer:
        weight.name = names.get(weight.name, weight.name)
    for node in _nodes(graph):
        node.input[:] = [names.get(name, name) for name in node.input]
    optimized.write_bytes(model.SerializeToString())


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (value.name for value in (*graph.input, *graph.output, *graph.initializer))
    for node in _nodes(graph):
        yield from (*node.input, *node.output)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of its bodies."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _nodes(body)
