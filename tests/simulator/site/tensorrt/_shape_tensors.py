"""Which inputs decide shapes by their values."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from ._operators import bodies

# which of the inputs of these operators are sizes
_SIZES = {
    "ConstantOfShape": slice(0, None),
    "Expand": slice(1, None),
    "Pad": slice(1, 2),
    "Range": slice(0, None),
    "Reshape": slice(1, None),
    "Resize": slice(2, None),
    "Slice": slice(1, None),
    "Split": slice(1, None),
    "Tile": slice(1, None),
    "TopK": slice(1, None),
    "Upsample": slice(1, None),
}
# the sizes of their inputs count, not the values
_SHAPES_ONLY = frozenset({"Shape", "Size"})


def shape_tensors(graph: onnx.GraphProto) -> set[str]:
    """The tensors whose values decide shapes; of those made in bodies, by name alone."""
    makers = {name: node for node in _nodes(graph) for name in node.output}
    found: set[str] = set()
    waiting = [name for node in _nodes(graph) for name in _sizes(node)]
    while waiting:
        name = waiting.pop()
        if not name or name in found:
            continue
        found.add(name)
        maker = makers.get(name)
        if maker is not None and maker.op_type not in _SHAPES_ONLY:
            waiting.extend(maker.input)
            waiting.extend(value.name for body in bodies(maker) for value in body.output)
    return found


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node, also those in bodies."""
    for node in graph.node:
        yield node
        for body in bodies(node):
            yield from _nodes(body)


def _sizes(node: onnx.NodeProto) -> list[str]:
    if node.op_type == "Loop" and len(node.output) > len(node.input) - 2:
        return list(node.input[:1])  # as many turns as it takes are in what it collects
    return list(node.input[_SIZES.get(node.op_type, slice(0))])
