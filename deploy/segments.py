"""A piece of a graph -> an ONNX file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import NameFixPass, RemoveUnusedFunctionsPass, RemoveUnusedOpsetsPass

from deploy.carve import Piece

# protobuf ends at 2 GiB; the graph itself needs some of it
INLINE_BYTES = 1_900_000_000


@dataclass(frozen=True)
class Wire:
    """A tensor that goes into or comes out of a segment, and its name there."""

    name: str
    value: ir.Value


def build(
    model: ir.Model, name: str, piece: Piece, inputs: Sequence[Wire], outputs: Sequence[Wire]
) -> ir.Model:
    """A model of the piece alone; it shares its weights with ``model``.

    In ``model`` only the nodes change that read dynamic sizes: they read them from the inputs of
    the segment built last. Every piece that holds one anchors it.
    """
    for anchor in piece.anchors:
        anchor.node.replace_input_with(0, anchor.value)
        anchor.node.attributes["start"] = ir.AttrInt64("start", anchor.axis)
        anchor.node.attributes["end"] = ir.AttrInt64("end", anchor.axis + 1)
    view = ir.GraphView(
        [wire.value for wire in inputs],
        [wire.value for wire in outputs],
        nodes=piece.nodes,
        initializers=piece.weights,
        opset_imports=dict(model.graph.opset_imports),
        name=name,
        metadata_props=dict(model.graph.metadata_props),
    )
    segment = ir.Model(
        view.clone(),
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
        functions=[function.clone() for function in model.functions.values()],
        metadata_props=dict(model.metadata_props),
    )
    _own_outputs(segment.graph)
    _rename(segment.graph.inputs, inputs)
    _rename(segment.graph.outputs, outputs)
    _tidy(segment)
    return segment


def write(segment: ir.Model, path: Path, inline_bytes: int) -> None:
    """Save as one file, or with the weights beside it where they are more than ``inline_bytes``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = segment.graph.initializers.values()
    if sum(w.const_value.nbytes for w in weights if w.const_value is not None) > inline_bytes:
        ir.save(segment, path, external_data=f"{path.name}.data")
        return
    for weight in weights:
        if isinstance(weight.const_value, ir.ExternalTensor):
            weight.const_value = _mapped(weight.const_value)
    ir.save(segment, path)


def _mapped(tensor: ir.ExternalTensor) -> ir.TensorProtocol:
    """The tensor as part of this file, still mapped from where it was."""
    return ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name)


def _tidy(segment: ir.Model) -> None:
    NameFixPass()(segment)
    RemoveUnusedFunctionsPass()(segment)  # type: ignore[no-untyped-call]
    RemoveUnusedOpsetsPass()(segment)


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


def _rename(values: Sequence[ir.Value], wires: Sequence[Wire]) -> None:
    for value, wire in zip(values, wires, strict=True):
        value.name = wire.name
