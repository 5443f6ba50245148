"""Functions that a file defines itself, and the nodes that they stand for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
from onnx import defs, inliner
from onnx.external_data_helper import load_external_data_for_model

from backends.contract import ConversionError, Segment
from backends.onnx.graph_parts import tensors_read
from backends.onnx.model_file import read_without_weights

_MOST_NODES = 1 << 20  # of a model after inlining: functions that call others twice double them
_MOST_BYTES = 1_500_000_000  # of weights in the file; protobuf ends at 2 GiB

Block = onnx.GraphProto | onnx.FunctionProto


@dataclass(frozen=True)
class Inlined:
    """A model without functions.

    Attributes:
        model: the model.
        callers: for each of its nodes, the number of the node that stood for it.
    """

    model: onnx.ModelProto
    callers: tuple[int, ...]


def inline_local_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the nodes of its functions in the place of their calls.

    Raises:
        ValueError: functions call each other in a circle or too often, or cannot be converted to
            the model's version of the operators.
    """
    if not model.functions:
        return model
    check_growth(model)
    complete = onnx.ModelProto()
    complete.CopyFrom(model)
    versions = {opset.domain: opset.version for opset in complete.opset_import}
    for function in complete.functions:
        raise_versions(function, versions)
    return inline_with_onnx(
        complete, convert=any(has_other_opsets(each, versions) for each in complete.functions)
    )


def inline_and_trace(model: onnx.ModelProto) -> Inlined:
    """The same, with the node of the model that each of its nodes comes from.

    Raises:
        ValueError: see ``inline_local_functions``.
    """
    numbers = {
        name: number for number, node in enumerate(model.graph.node) for name in node.output if name
    }
    inlined = inline_local_functions(model)
    callers: dict[int, int] = {}
    leads_to: dict[str, int] = {}  # by a tensor inside a function, the call whose result needs it
    for number, node in reversed(list(enumerate(inlined.graph.node))):
        known = [numbers[name] for name in node.output if name in numbers]
        inner = [leads_to[name] for name in node.output if name in leads_to]
        callers[number] = next(iter((*known, *inner)), -1)
        for name in tensors_read(node):
            if name not in numbers:
                leads_to[name] = callers[number]
    return Inlined(inlined, tuple(callers[number] for number in range(len(inlined.graph.node))))


def segment_without_functions(segment: Segment, folder: Path) -> Segment:
    """A segment for an engine that knows no functions of a file's own.

    Args:
        segment: any segment.
        folder: gets the file without functions, if the segment's has any.

    Raises:
        ConversionError: they cannot be inlined.
    """
    model = read_without_weights(segment.onnx)
    if not model.functions:
        return segment
    try:
        inlined = inline_local_functions(model)
    except ValueError as error:
        raise ConversionError(
            f"segment '{segment.name}': the functions that its file defines cannot be inlined: "
            f"{error}",
            do="Choose another backend for this segment.",
        ) from error
    load_external_data_for_model(inlined, str(segment.onnx.resolve().parent))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "inlined.onnx"
    onnx.save(
        inlined,
        path,
        save_as_external_data=inlined.ByteSize() > _MOST_BYTES,
        location=f"{path.name}.data",
    )
    return replace(segment, onnx=path)


def inline_with_onnx(model: onnx.ModelProto, *, convert: bool) -> onnx.ModelProto:
    """The model inlined by onnx.

    Args:
        model: its calls get the default values of attributes, which onnx would leave out.
        convert: whether bodies are converted to the model's version of the operators.

    Raises:
        ValueError: onnx cannot.
    """
    defaults = {
        (function.domain, function.name): function.attribute_proto for function in model.functions
    }
    for block in blocks(model):
        for node in block.node:
            given = {attribute.name for attribute in node.attribute}
            for default in defaults.get((node.domain, node.op_type), ()):
                if default.name not in given:
                    node.attribute.append(default)
    try:
        return inliner.inline_local_functions(model, convert_version=convert)
    except RuntimeError as error:
        raise ValueError(str(error)) from error


def check_growth(model: onnx.ModelProto) -> None:
    """Refuse functions whose calls stand for too many nodes.

    Raises:
        ValueError: they do, or call each other in a circle.
    """
    bodies = {(function.domain, function.name): function for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(calls: Counter[tuple[str, str]], callers: frozenset[tuple[str, str]]) -> int:
        total = calls.total()
        for called, times in calls.items():
            if called in callers:
                raise ValueError(f"function '{called[0]}::{called[1]}' calls itself")
            if called in bodies and called not in sizes:
                sizes[called] = size(_calls(blocks_of([bodies[called]])), callers | {called})
            total += times * sizes.get(called, 0)
        return total

    if size(_calls(blocks_of([model.graph])), frozenset()) > _MOST_NODES:
        raise ValueError(f"its functions stand for more than {_MOST_NODES:,} operators")


def _calls(blocks_of_nodes: Iterator[Block]) -> Counter[tuple[str, str]]:
    return Counter((node.domain, node.op_type) for block in blocks_of_nodes for node in block.node)


def raise_versions(function: onnx.FunctionProto, versions: Mapping[str, int]) -> None:
    """Give a function the model's version of the operators, where its own are the same in both."""
    own = {opset.domain: opset.version for opset in function.opset_import}
    nodes = [node for block in blocks_of([function]) for node in block.node]
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


def has_other_opsets(function: onnx.FunctionProto, versions: Mapping[str, int]) -> bool:
    """Whether a function uses other versions of the operators than its model."""
    return any(
        versions.get(opset.domain, opset.version) != opset.version
        for opset in function.opset_import
    )


def blocks(model: onnx.ModelProto) -> Iterator[Block]:
    """Everything that holds nodes: the top graph, functions, and the bodies in them."""
    yield from blocks_of([model.graph, *model.functions])


def blocks_of(pending: list[Block]) -> Iterator[Block]:
    """These blocks, and the bodies in them."""
    while pending:
        block = pending.pop()
        yield block
        for node in block.node:
            for attribute in node.attribute:
                pending.extend([attribute.g] if attribute.HasField("g") else [])
                pending.extend(attribute.graphs)
