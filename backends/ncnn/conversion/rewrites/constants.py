"""What does not depend on an input, computed here."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from backends.contract import Array
from backends.ncnn.conversion.fixed_graph import STANDARD, FixedGraph, bodies, read_by_bodies

_MAX_ELEMENTS = 1 << 22
_MAX_SLOW_ELEMENTS = 1 << 14
# the reference loops over their elements in Python
_SLOW = """
AffineGrid AveragePool Col2Im Conv ConvInteger ConvTranspose DeformConv GRU GridSample LSTM LpPool
MaxPool MaxRoiPool MaxUnpool NonMaxSuppression QLinearConv RNN Resize RoiAlign Upsample
"""
# random numbers, and what would undo a quantisation
_LEFT_ALONE = """
Bernoulli DequantizeLinear Multinomial QLinearMatMul QuantizeLinear RandomNormal RandomNormalLike
RandomUniform RandomUniformLike
"""


def fold_constants(graph: FixedGraph) -> None:
    """Make weights of what depends on no input, in place.

    pnnx folds it too, and loses tensors or crashes where that fails.
    """
    values: dict[str, Array] = {}
    folded = {id(node) for node in graph.model.graph.node if _fold(node, graph, values)}
    kept = [node for node in graph.model.graph.node if id(node) not in folded]
    read = {name for node in kept for name in (*node.input, *read_by_bodies(node))}
    for name, value in values.items():
        if name in read:
            graph.add_weight(name, value)
    if folded:
        graph.replace_nodes(kept)


def _fold(node: onnx.NodeProto, graph: FixedGraph, values: dict[str, Array]) -> bool:
    """Compute the tensors of a node, if it may be folded."""
    outputs = [name for name in node.output if name]
    if not _may_be_folded(node, graph, outputs):
        return False
    known = {name: graph.constant(name) for name in outputs}
    results = {name: value for name, value in known.items() if value is not None}
    if len(results) < len(outputs):
        inputs = {name: values.get(name, graph.constant(name)) for name in node.input if name}
        results = _computed(node, graph, inputs)
    values |= results
    return bool(results)


def _may_be_folded(node: onnx.NodeProto, graph: FixedGraph, outputs: list[str]) -> bool:
    if node.domain not in STANDARD or node.op_type in _LEFT_ALONE.split() or any(bodies(node)):
        return False
    if any(graph.is_varying(name) or name in graph.outputs for name in outputs):
        return False
    most = _MAX_SLOW_ELEMENTS if node.op_type in _SLOW.split() else _MAX_ELEMENTS
    sizes = [graph.shape(name) for name in outputs]
    return all(size is not None and prod(size) <= most for size in sizes)


def _computed(
    node: onnx.NodeProto, graph: FixedGraph, inputs: Mapping[str, Array | None]
) -> dict[str, Array]:
    """The tensors that a node computes; none where the reference cannot."""
    known = {name: value for name, value in inputs.items() if value is not None}
    if len(known) < len(inputs):
        return {}
    model = graph.as_model(node, list(known))
    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(model).run(None, known)
    except (ArithmeticError, LookupError, NotImplementedError, TypeError, ValueError):
        return {}
    names = [name for name in node.output if name]
    return {name: np.asarray(value) for name, value in zip(names, results, strict=True)}
