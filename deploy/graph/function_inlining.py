"""Inlining: calls of functions that a file defines itself become the nodes of their bodies."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from backends.onnx.functions import (
    blocks_of,
    check_growth,
    has_other_opsets,
    inline_with_onnx,
    raise_versions,
)
from deploy.graph.nodes import MARK_DOMAIN, MARK_OP
from deploy.graph.value_types import set_aside_unknown_types


def inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without functions of its own, which not every engine knows.

    Marks stay, and functions with marks inside: called twice, they would be two of one name.

    Raises:
        ValueError: functions call each other in a circle or too often.
    """
    functions = [function for function in model.functions if not _is_mark(function)]
    if not functions:
        return model
    check_growth(model)
    kept = {_identifier(f) for f in model.functions if _is_mark(f) or _has_marks(f)}
    versions = {opset.domain: opset.version for opset in model.opset_import}
    for function in functions:
        raise_versions(function, versions)
    if any(has_other_opsets(function, versions) for function in functions):
        return model if any(map(_has_marks, functions)) else _converted(model)
    set_aside_unknown_types(model.graph)
    graph = ir.serde.deserialize_model(model)
    # onnx's own inliner leaves out the default values of a function's attributes
    inlined = InlinePass(lambda function: function.identifier() not in kept)(graph)
    return ir.serde.serialize_model(inlined.model)


def _identifier(function: onnx.FunctionProto) -> tuple[str, str, str]:
    return function.domain, function.name, function.overload


def _is_mark(function: onnx.FunctionProto) -> bool:
    return (function.domain, function.name) == (MARK_DOMAIN, MARK_OP)


def _has_marks(function: onnx.FunctionProto) -> bool:
    return any(
        (node.domain, node.op_type) == (MARK_DOMAIN, MARK_OP)
        for block in blocks_of([function])
        for node in block.node
    )


def _converted(model: onnx.ModelProto) -> onnx.ModelProto:
    """Inlined by onnx, which converts bodies to the model's version of the operators.

    Where it cannot, the functions stay: some engines run them.
    """
    complete = onnx.ModelProto()
    complete.CopyFrom(model)
    try:
        return inline_with_onnx(complete, convert=True)
    except ValueError:
        return model
