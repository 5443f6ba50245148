"""Which inputs and outputs of a node may be half, by the schema of its operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx import defs

from deploy.casting.words import Half, is_float

_EXACT = {
    "BitCast": "its bits",
    "DequantizeLinear": "its scale",
    "DynamicQuantizeLinear": "its scale",
    "MeanVarianceNormalization": "its definition has constants in fp32",
    "QuantizeLinear": "its scale",
}
_WIDE = {("Resize", "T2")}  # types of inputs that schemas would let be half: regions of interest


@dataclass(frozen=True)
class Places:
    """The numbers of a node's float32 inputs and outputs that are half when the node is."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def places(node: ir.Node, half: Half, opset: int | None) -> Places | str:
    """What becomes half with this node, or why it cannot.

    Args:
        node: a node that calls no function of the model.
        half: the type.
        opset: the version of the node's domain; None where the model names none.
    """
    if node.op_type in _EXACT:
        return f"needs fp32 ({_EXACT[node.op_type]})"
    if any(_is_float_tensor(attribute) for attribute in node.attributes.values()):
        return "needs fp32 (an attribute of it is fp32)"
    if opset is None or not defs.has(node.op_type, opset, node.domain):
        return f"needs fp32 ({node.op_type} of '{node.domain}' has no schema here)"
    schema = defs.get_schema(node.op_type, opset, node.domain)
    free = {
        kind.type_param_str
        for kind in schema.type_constraints
        if half.in_schemas in kind.allowed_type_strs
        and (node.op_type, kind.type_param_str) not in _WIDE
    }
    taken = {n: kind for n, kind in _kinds(node.inputs, schema.inputs).items() if kind in free}
    given = {n: kind for n, kind in _kinds(node.outputs, schema.outputs).items() if kind in free}
    if not taken and not given:
        return f"needs fp32 ({node.op_type} has no {half.name} at opset {opset})"
    if node.op_type != "Cast" and not set(given.values()) <= set(taken.values()):
        return "needs fp32 (an output's type does not follow from its inputs)"
    return Places(tuple(taken), tuple(given))


def _is_float_tensor(attribute: ir.Attr) -> bool:
    return (
        attribute.type == ir.AttributeType.TENSOR
        and attribute.as_tensor().dtype == ir.DataType.FLOAT
    )


def _kinds(
    values: Sequence[ir.Value | None], formals: Sequence[defs.OpSchema.FormalParameter]
) -> dict[int, str]:
    """The kind of every float32 value by its number; the last formal one stands for the rest."""
    return {
        number: formals[min(number, len(formals) - 1)].type_str
        for number, value in enumerate(values)
        if is_float(value)
    }
