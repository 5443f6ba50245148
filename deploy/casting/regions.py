"""Coordinates in pixels: half has 11 bits or fewer, so that they would move by pixels."""

from __future__ import annotations

import onnx_ir as ir

from deploy.casting.words import is_float
from deploy.cutting.anatomy import is_weight

_REGIONS = {"MaxRoiPool": 1, "NonMaxSuppression": 0, "RoiAlign": 1}  # the input that has them
_LEARNED = frozenset(("Conv", "ConvTranspose", "Einsum", "Gemm", "GRU", "LSTM", "MatMul", "RNN"))
_ENDS = _LEARNED | _REGIONS.keys()


def regions(graph: ir.Graph) -> frozenset[ir.Value]:
    """The float32 values that are regions, and those around them that arithmetic leads to.

    That is backwards up to what is learned, such as offsets that a convolution gives, and forwards
    up to what looks at regions or learns from them; the level that each is on lies between.
    """
    found = _behind(graph)
    for node in graph:
        if node.op_type not in _ENDS and not found.isdisjoint(node.inputs):
            found.update(filter(is_float, node.outputs))
    return frozenset(found)


def computes_with(node: ir.Node, found: frozenset[ir.Value]) -> bool:
    """Whether the node makes or reads regions, other than to learn from them."""
    return node.op_type not in _LEARNED and not found.isdisjoint((*node.inputs, *node.outputs))


def _behind(graph: ir.Graph) -> set[ir.Value]:
    """What regions are made of."""
    found: set[ir.Value] = set()
    pending = [node.inputs[_REGIONS[node.op_type]] for node in graph if node.op_type in _REGIONS]
    while pending:
        value = pending.pop()
        if value is None or value in found or not is_float(value):
            continue
        found.add(value)
        producer = value.producer()
        if producer is not None and producer.op_type not in _ENDS:
            pending.extend(v for v in producer.inputs if v is None or not is_weight(v))
    return found
