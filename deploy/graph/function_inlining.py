"""Inlining: calls of functions that a file defines itself become the nodes of their bodies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import onnx
import onnx_ir as ir
from onnx import defs, inliner
from onnx_ir.passes.common import InlinePass

from deploy.graph.nodes import MARK_DOMAIN, MARK_OP
from deploy.graph.value_types import set_aside_unknown_types

_MOST_NODES = 1 << 20  # of a model after inlining: functions that call others twice double them

Block = onnx.GraphProto | onnx.FunctionProto


def inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without functions of its own, which not every engine knows.

    Marks stay, and functions with marks inside: called twice, they would be two of one name.

    Raises:
        ValueError: functions call each other in a circle or too often.
    """
    functions = [function for function in model.functions if not _is_mark(function)]
    if not functions:
        return model
    _check_growth(model)
    kept = {_identifier(f) for f in model.functions if _is_mark(f) or _has_marks(f)}
    versions = {opset.domain: opset.version for opset in model.opset_import}
    for function in functions:
        _raise_versions(function, versions)
    if any(_has_other_opsets(function, versions) for function in functions):
        return model if any(map(_has_marks, functions)) else _converted(model)
    set_aside_unknown_types(model.graph)
    graph = ir.serde.deserialize_model(model)
    # onnx's own inliner leaves out the default values of a function's attributes
    inlined = InlinePass(lambda function: function.identifier() not in kept)(graph)
    return ir.serde.serialize_model(inlined.model)


def _check_growth(model: onnx.ModelProto) -> None:
    bodies = {(function.domain, function.name): function for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(calls: Counter[tuple[str, str]], callers: frozenset[tuple[str, str]]) -> int:
        total = calls.total()
        for called, times in calls.items():
            if called in callers:
                raise ValueError(f"function '{called[0]}::{called[1]}' calls itself")
            if called in bodies and called not in sizes:
                sizes[called] = size(_calls(_blocks([bodies[called]])), callers | {called})
            total += times * sizes.get(called, 0)
        return total

    if size(_calls(_blocks([model.graph])), frozenset()) > _MOST_NODES:
        raise ValueError(f"its functions stand for more than {_MOST_NODES:,} operators")


def _calls(blocks_of_nodes: Iterator[Block]) -> Counter[tuple[str, str]]:
    return Counter((node.domain, node.op_type) for block in blocks_of_nodes for node in block.node)


def _identifier(function: onnx.FunctionProto) -> tuple[str, str, str]:
    return function.domain, function.name, function.overload


def _is_mark(function: onnx.FunctionProto) -> bool:
    return (function.domain, function.name) == (MARK_DOMAIN, MARK_OP)


def _has_marks(function: onnx.FunctionProto) -> bool:
    return any(
        (node.domain, node.op_type) == (MARK_DOMAIN, MARK_OP)
        for block in _blocks([function])
        for node in block.node
    )


def _raise_versions(function: onnx.FunctionProto, versions: Mapping[str, int]) -> None:
    """Give a function the model's version of the operators, where its own are the same in both."""
    own = {opset.domain: opset.version for opset in function.opset_import}
    nodes = [node for block in _blocks([function]) for node in block.node]
    for opset in function.opset_import:
        version = versions.get(opset.domain, opset.version)
        if all(
            _since(node, own[opset.domain]) == _since(node, version)
            for node in nodes
            if node.domain == opset.domain
        ):
            opset.version = version


def _since(node: onnx.NodeProto, version: int) -> int:
    """The version in which an operator got its present form; 0 of what is no standard operator."""
    try:
        return int(defs.get_schema(node.op_type, version, node.domain).since_version)
    except defs.SchemaError:
        return 0


def _has_other_opsets(function: onnx.FunctionProto, versions: Mapping[str, int]) -> bool:
    return any(
        versions.get(opset.domain, opset.version) != opset.version
        for opset in function.opset_import
    )


def _converted(model: onnx.ModelProto) -> onnx.ModelProto:
    """Inlined by onnx, which converts bodies to the model's version of the operators.

    Where it cannot, the functions stay: some engines run them.
    """
    complete = onnx.ModelProto()
    complete.CopyFrom(model)
    defaults = {
        (function.domain, function.name): function.attribute_proto for function in model.functions
    }
    for block in blocks(complete):
        for node in block.node:
            given = {attribute.name for attribute in node.attribute}
            for default in defaults.get((node.domain, node.op_type), ()):
                if default.name not in given:
                    node.attribute.append(default)
    try:
        return inliner.inline_local_functions(complete, convert_version=True)
    except RuntimeError:
        return model


def blocks(model: onnx.ModelProto) -> Iterator[Block]:
    """Everything that holds nodes: the top graph, functions, and the bodies in them."""
    yield from _blocks([model.graph, *model.functions])


def _blocks(pending: list[Block]) -> Iterator[Block]:
    while pending:
        block = pending.pop()
        yield block
        for node in block.node:
            for attribute in node.attribute:
                pending.extend([attribute.g] if attribute.HasField("g") else [])
                pending.extend(attribute.graphs)
