"""An exported file -> its graph without the marks, and the places where they were."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from deploy.cuts import Places
from deploy.graph import is_mark
from deploy.points import MarkedTensor, Side


def take_out_marks(model: ir.Model, traced: Sequence[MarkedTensor]) -> Places:
    """Remove the marks from a model.

    Several marks on one tensor, one after the other, are then several names of one value.

    Args:
        model: the model, changed in place.
        traced: every tensor that was marked, also those that left no node in the model.
    """
    names = [str(value.name) for value in model.graph.outputs]
    marks = {_marked(node): _bypass(node) for node in list(model.graph) if is_mark(node)}
    return Places(
        inputs={str(value.name): value for value in model.graph.inputs},
        outputs=dict(zip(names, model.graph.outputs, strict=True)),
        marks=marks,
        dropped=frozenset(traced) - marks.keys(),
    )


def _marked(node: ir.Node) -> MarkedTensor:
    at = node.attributes
    side: Side = "input" if at["side"].as_string() == "input" else "output"
    return MarkedTensor(at["mark"].as_string(), at["call"].as_int(), side, at["path"].as_string())


def _bypass(node: ir.Node) -> ir.Value:
    """Let the users of a mark's result use the tensor that goes into it."""
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None, "a mark has an input"
    source.type = source.type or result.type  # the exporter's rewrites may have lost them
    source.shape = source.shape or result.shape
    result.replace_all_uses_with(source, replace_graph_outputs=True)
    assert node.graph is not None, "a mark lies in a graph"
    node.graph.remove(node, safe=True)
    return source
