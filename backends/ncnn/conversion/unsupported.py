"""Nodes that ncnn cannot take, which their types and forms show before any conversion."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import TensorProto

from backends.ncnn.conversion.fixed_graph import (
    STANDARD,
    FixedGraph,
    Origin,
    bodies,
    is_used,
)
from backends.ncnn.conversion.wrong_forms import wrong_forms


def unsupported_nodes(graph: FixedGraph) -> dict[Origin, str]:
    """The nodes of the segment that cannot be taken, each with the reason.

    What does not depend on an input, such as the sizes of a reshape, is left to the converter.

    Args:
        graph: after its rewrites, which make some nodes vanish.
    """
    refused = wrong_forms(graph)
    for node in graph.model.graph.node:
        if any(map(graph.is_varying, node.output)) and (reason := _reason(node, graph)):
            refused.setdefault(graph.origin(node), reason)
    return refused


def _reason(node: onnx.NodeProto, graph: FixedGraph) -> str:
    if node.domain not in STANDARD:
        return f"ncnn has no operators of the domain '{node.domain}'"
    if bodies(node):
        return "it holds a graph of its own, and ncnn has no control flow"
    inputs = [name for name in node.input if graph.is_varying(name)]
    outputs = [name for name in node.output if is_used(name, graph)]
    kinds = (("input", inputs), ("output", outputs))
    faults = (_tensor_fault(kind, names, graph) for kind, names in kinds)
    return next(filter(None, faults), "")


def _tensor_fault(kind: str, names: Iterable[str], graph: FixedGraph) -> str:
    for name in names:
        if not graph.is_float(name):
            return f"ncnn computes with float32, and its {kind} '{name}' is {_type(name, graph)}"
        shape = graph.shape(name)
        if shape is None:
            return f"the size of its {kind} '{name}' is not known before it runs"
        if 0 in shape:
            return f"its {kind} '{name}' is empty"
    return ""


def _type(name: str, graph: FixedGraph) -> str:
    number = graph.element_type(name)
    return TensorProto.DataType.Name(number).lower() if number else "of an unknown type"
