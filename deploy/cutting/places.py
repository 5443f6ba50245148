"""A graph -> the same without its marks, and the places where it can be cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from deploy.cutting.cuts import Places
from deploy.cutting.graph import MARK_DOMAIN, bodies, describe, is_mark
from deploy.points import MarkedTensor, Side


def take_out_marks(model: ir.Model, traced: Sequence[MarkedTensor], *, by_name: bool) -> Places:
    """Remove the marks from a model.

    Several marks on one tensor, one after the other, are then several names of one value.

    Args:
        model: the model, changed in place.
        traced: every tensor that was marked, also those that left no node in the model.
        by_name: whether every tensor of the graph is a place to cut.
    """
    graph = model.graph
    names = [str(value.name) for value in graph.outputs]
    marks = {_marked(node): _bypass(node) for node in list(graph) if is_mark(node)}
    buried = {at: where for node, where in _inner(model) for at in _names(node, by_name)}
    for node, _ in list(_inner(model)):
        _make_identity(node)
    return Places(
        inputs={str(value.name): value for value in graph.inputs},
        outputs=dict(zip(names, graph.outputs, strict=True)),
        marks=marks,
        dropped=frozenset(at for at in traced if at not in marks and str(at) not in buried),
        tensors=dict(_tensors(graph)) if by_name else {},
        buried=buried,
    )


def _tensors(graph: ir.Graph) -> Iterator[tuple[str, ir.Value]]:
    for value in (*graph.inputs, *(value for node in graph for value in node.outputs)):
        if value.name:
            yield value.name, value


def _inner(model: ir.Model) -> Iterator[tuple[ir.Node, str]]:
    """Every node of a body or a function, and what that is the body of."""
    for node in model.graph:
        for body in bodies(node):
            for inner in ir.traversal.RecursiveGraphIterator(body):
                yield inner, describe(node)
    for function in model.functions.values():
        if function.domain == MARK_DOMAIN:
            continue
        for inner in ir.traversal.RecursiveGraphIterator(function.graph):
            yield inner, f"function '{function.domain}::{function.name}'"


def _names(node: ir.Node, by_name: bool) -> list[str]:
    """By what names a cut could ask for what the node makes."""
    if is_mark(node):
        return [str(_marked(node))]
    return [value.name for value in node.outputs if value.name] if by_name else []


def _make_identity(node: ir.Node) -> None:
    """Let a mark that cannot be cut at be of no domain that an engine would have to know."""
    if is_mark(node):
        node.domain, node.op_type = "", "Identity"
        node.attributes.clear()


def _marked(node: ir.Node) -> MarkedTensor:
    at = node.attributes
    side: Side = "input" if at["side"].as_string() == "input" else "output"
    return MarkedTensor(at["mark"].as_string(), at["call"].as_int(), side, at["path"].as_string())


def _bypass(node: ir.Node) -> ir.Value:
    """Let the users of a mark's result use the tensor that goes into it."""
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None, "a mark has an input"
    source.type = source.type or result.type  # the exporter's rewrites may have lost them
    # decompositions may have given a size that depends on the data another name
    source.shape = result.shape or source.shape
    result.replace_all_uses_with(source, replace_graph_outputs=True)
    assert node.graph is not None, "a mark lies in a graph"
    node.graph.remove(node, safe=True)
    return source
