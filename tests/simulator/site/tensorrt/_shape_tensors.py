"""Which inputs decide shapes by their values."""

from __future__ import annotations

import onnx

# operators whose inputs from here on are sizes
_SIZES_FROM = {
    "ConstantOfShape": 0,
    "Expand": 1,
    "Pad": 1,
    "Range": 0,
    "Reshape": 1,
    "Resize": 2,
    "Slice": 1,
    "Split": 1,
    "Tile": 1,
    "TopK": 1,
    "Upsample": 1,
}
# the sizes of their inputs count, not the values
_SHAPES_ONLY = frozenset({"Shape", "Size"})


def shape_tensors(graph: onnx.GraphProto) -> set[str]:
    """The tensors outside nodes' bodies whose values decide shapes."""
    makers = {name: node for node in graph.node for name in node.output}
    found: set[str] = set()
    waiting = [name for node in graph.node for name in _sizes(node)]
    while waiting:
        name = waiting.pop()
        if not name or name in found:
            continue
        found.add(name)
        maker = makers.get(name)
        if maker is not None and maker.op_type not in _SHAPES_ONLY:
            waiting.extend(maker.input)
    return found


def _sizes(node: onnx.NodeProto) -> list[str]:
    start = _SIZES_FROM.get(node.op_type)
    return [] if start is None else list(node.input[start:])
