"""A subgraph -> an ONNX model of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import onnx_ir as ir
from onnx_ir.passes.common import NameFixPass, RemoveUnusedOpsetsPass

from deploy.graph.nodes import bodies
from deploy.graph.writing import WEIGHTS_APART
from deploy.partition.tensor_names import NamedSubgraph, NamedTensor


def extract_segment(model: ir.Model, part: NamedSubgraph, fixed: Mapping[str, int]) -> ir.Model:
    """A model of one part; it shares its weights with ``model``.

    In ``model`` only the nodes change that read dynamic sizes: they read them from the inputs of
    the segment built last. Every piece that holds one anchors it.

    Args:
        model: the whole.
        part: the part.
        fixed: sizes for the names of dimensions.
    """
    piece = part.part.piece
    for anchor in piece.anchors:
        anchor.node.replace_input_with(0, anchor.value)
        anchor.node.attributes["start"] = ir.AttrInt64("start", anchor.axis)
        anchor.node.attributes["end"] = ir.AttrInt64("end", anchor.axis + 1)
    view = ir.GraphView(
        [wire.value for wire in part.inputs],
        [wire.value for wire in part.outputs],
        nodes=piece.nodes,
        initializers=piece.weights,
        opset_imports=dict(model.graph.opset_imports),
        name=part.part.name,
        metadata_props=dict(model.graph.metadata_props),
    )
    segment = ir.Model(
        view.clone(),
        ir_version=max(model.ir_version, WEIGHTS_APART),
        producer_name=model.producer_name,
        producer_version=model.producer_version,
        functions=[function.clone() for function in _used(model, piece.nodes)],
        metadata_props=dict(model.metadata_props),
    )
    _own_outputs(segment.graph)
    _rename(segment.graph.inputs, part.inputs)
    _rename(segment.graph.outputs, part.outputs)
    NameFixPass()(segment)
    RemoveUnusedOpsetsPass()(segment)
    if fixed:
        _fix(segment.graph, fixed)
    return segment


def _used(model: ir.Model, nodes: Iterable[ir.Node]) -> Collection[ir.Function]:
    """The functions that the nodes call, and those that these call."""
    found: dict[ir.Function, None] = {}
    pending = list(nodes) if model.functions else []
    while pending:
        node = pending.pop()
        pending.extend(inner for body in bodies(node) for inner in body)
        function = model.functions.get(node.op_identifier())
        if function is not None and function not in found:
            found[function] = None
            pending.extend(function)
    return found


def _own_outputs(graph: ir.Graph) -> None:
    """Give each output a value of its own, that is no input, no weight and no other output."""
    taken = {*graph.inputs, *graph.initializers.values()}
    for index, value in enumerate(graph.outputs):
        if value in taken:
            node = ir.node("Identity", [value])
            node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
            graph.append(node)
            graph.outputs[index] = node.outputs[0]
        taken.add(value)


def _rename(values: Collection[ir.Value], wires: Collection[NamedTensor]) -> None:
    for value, wire in zip(values, wires, strict=True):
        value.name = wire.name


def _fix(graph: ir.Graph, sizes: Mapping[str, int]) -> None:
    made = (value for node in graph for value in node.outputs)
    for value in (*graph.inputs, *made):
        for axis, dim in enumerate(value.shape or ()):
            if isinstance(dim, ir.SymbolicDim) and dim.value in sizes and value.shape is not None:
                value.shape[axis] = sizes[str(dim.value)]
