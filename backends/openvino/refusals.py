"""The nodes of a file that OpenVINO does not take.

Its ONNX frontend keeps what it cannot translate as placeholders, and its CPU plugin names the
operations that it can run. What needs a refused node is asked about again, with the refused node's
results as inputs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
from onnx.external_data_helper import uses_external_data

from backends.contract import Segment
from backends.files import temporary_folder
from backends.onnx.functions import inline_and_trace
from backends.onnx.graph_parts import (
    PartOfGraph,
    Types,
    first_output,
    known_types,
    node_label,
    tensor_bytes,
    tensor_dtype,
    tensors_read,
    without_nodes,
)
from backends.openvino import DTYPES
from backends.openvino.engine import FAILURES, engine_message, partial_shape
from backends.openvino.known_faults import known_faults
from backends.openvino.library import ov
from backends.openvino.shapes import first_other_shape
from backends.support import RefusedNode

_SECONDS = 120.0  # after which nothing is asked again
INLINE_BYTES = 1 << 16
"""Smaller weights are read: the frontend may want to know them, such as sizes."""
_MODEL, _ZEROS = "model.onnx", "weights"
_UNKNOWN = ("ONNXFrameworkNode", "ONNXSubgraphFrameworkNode")  # placeholders of the frontend
_FAILED = "NotSupportedONNXNode"
_FAILURES = re.compile(r"^-- (\w+)-\d+ with a message:\n(.*?)(?=^-- |^Summary:|\Z)", re.M | re.S)
_VALIDATED = re.compile(r"While validating node '[\w.]+::\w+ (\S+) ")
_NO_WORDS = re.compile(
    r"While validating ONNX node '[^']*': | failed at src/\S+| with friendly_name.*"
)
_NO_RULE = "OpenVINO has no translation for it"
_NO_KERNEL = "OpenVINO's CPU plugin does not run it"
_MAX_REASON = 300  # characters
Reasons = dict[int, str]  # by the number of the node


def refused_nodes(model: onnx.ModelProto, segment: Segment) -> tuple[RefusedNode, ...]:
    """The nodes that OpenVINO does not translate or run, or computes as something else.

    Args:
        model: without its large weights.
        segment: of which it is the file, for the sizes of its inputs.

    Raises:
        ValueError: functions of the file cannot be inlined.
    """
    traced = inline_and_trace(model)
    reasons: Reasons = {}
    for number, reason in _refused(traced.model, segment).items():
        reasons.setdefault(traced.callers[number], reason)
    return tuple(
        RefusedNode(node_label(node, number), node.op_type, reasons[number], first_output(node))
        for number, node in enumerate(model.graph.node)
        if number in reasons
    )


def _refused(model: onnx.ModelProto, segment: Segment) -> Reasons:
    """The nodes that OpenVINO does not take, by their numbers."""
    types = known_types(model)
    reasons = {**dict(known_faults(model.graph, types)), **dict(_other_dtypes(model, types))}
    end = time.monotonic() + _SECONDS
    with temporary_folder() as folder:
        _zero_weights(model, folder)
        while time.monotonic() < end:
            part = without_nodes(model, reasons, types)
            found = _asked(part, segment, folder) if part.numbers else {}
            if not found:
                break
            reasons |= found
    return reasons


def _other_dtypes(model: onnx.ModelProto, types: Types) -> Iterator[tuple[int, str]]:
    """The nodes with a tensor of a dtype that the engine would compute as another one."""
    for number, node in enumerate(model.graph.node):
        for name in (*tensors_read(node), *node.output):
            dtype = tensor_dtype(types[name]) if name in types else None
            if dtype is not None and dtype not in DTYPES.values():
                yield number, f"OpenVINO does not compute in {dtype}: '{name}'"
                break


def _zero_weights(model: onnx.ModelProto, folder: Path) -> None:
    """Let all large weights be the same zeros, since only their types and sizes matter here."""
    largest = 0
    for tensor in model.graph.initializer:
        if uses_external_data(tensor):
            size = tensor_bytes(tensor)
            del tensor.external_data[:]
            for key, value in (("location", _ZEROS), ("offset", "0"), ("length", str(size))):
                tensor.external_data.add(key=key, value=value)
            largest = max(largest, size)
    with (folder / _ZEROS).open("wb") as file:
        file.truncate(largest)  # a hole, which takes no space on the disk


def _asked(part: PartOfGraph, segment: Segment, folder: Path) -> Reasons:
    """What OpenVINO does not take of a part, by the numbers of the whole graph."""
    onnx.save(part.model, folder / _MODEL)
    numbers = {
        name: number
        for number, node in zip(part.numbers, part.model.graph.node, strict=True)
        for name in node.output
        if name
    }
    frontend = ov.frontend.FrontEndManager().load_by_framework("onnx")
    model = frontend.convert_partially(frontend.load(str(folder / _MODEL)))
    refused = _untranslated(model, folder) or _misread(model, segment, part.model)
    reasons: Reasons = {}
    for operation, reason in refused or _without_kernels(model):
        for number in _onnx_nodes(operation, numbers):
            reasons.setdefault(number, reason)
    return reasons


Refused = list[tuple[ov.Node, str]]


def _untranslated(model: ov.Model, folder: Path) -> Refused:
    """The placeholders, also those inside bodies, as the operation of the top graph."""
    found = []
    for operation in model.get_ordered_ops():
        for inner in _with_bodies(operation):
            kind = inner.get_type_name()
            if kind in _UNKNOWN:
                found.append((operation, _no_rule(inner, operation)))
            elif kind == _FAILED:
                found.append((operation, ""))
    if all(reason for _, reason in found):
        return found
    messages = _translation_failures(folder / _MODEL)
    return [(operation, reason or messages) for operation, reason in found]


def _no_rule(inner: ov.Node, operation: ov.Node) -> str:
    if inner.get_instance_id() == operation.get_instance_id():
        return _NO_RULE
    return f"OpenVINO has no translation for '{inner.get_friendly_name()}' inside it"


def _translation_failures(path: Path) -> str:
    """Why translations fail, in OpenVINO's words."""
    try:
        ov.Core().read_model(path)
    except FAILURES as error:
        told = [f"{kind}: {_short(text)}" for kind, text in _FAILURES.findall(str(error))]
        return "; ".join(told)[:_MAX_REASON] or engine_message(error)
    return _NO_RULE


def _with_bodies(operation: ov.Node) -> Iterator[ov.Node]:
    yield operation
    kind = operation.get_type_name()
    if kind == "If":
        bodies = [operation.get_function(number) for number in range(2)]
    else:
        bodies = [operation.get_function()] if kind in ("Loop", "TensorIterator") else []
    for body in bodies:
        for inner in body.get_ordered_ops():
            yield from _with_bodies(inner)


def _misread(model: ov.Model, segment: Segment, part: onnx.ModelProto) -> Refused:
    """The first operation that gets another shape than in the file, with the segment's sizes."""
    by_name = {name: port for port in model.inputs for name in port.get_names()}
    specs = [spec for spec in segment.inputs if spec.name in by_name and spec.shape is not None]
    try:
        model.reshape({by_name[spec.name]: partial_shape(spec) for spec in specs})
    except FAILURES as error:
        named = _VALIDATED.search(str(error))
        operations = [
            operation
            for operation in model.get_ordered_ops()
            if named is not None and operation.get_friendly_name() == named[1]
        ]
        return [(operation, _short(str(error))) for operation in operations[:1]]
    other = first_other_shape(model, part.graph)
    return [(other.operation, other.node.reason)] if other is not None else []


def _without_kernels(model: ov.Model) -> Refused:
    try:
        taken = ov.Core().query_model(model, "CPU")
    except FAILURES:
        return []  # a conversion tells why
    return [
        (operation, _NO_KERNEL)
        for operation in model.get_ordered_ops()
        if operation.get_friendly_name() not in taken
        and operation.get_type_name() not in ("Parameter", "Result", "Constant")
    ]


def _onnx_nodes(operation: ov.Node, numbers: Mapping[str, int]) -> set[int]:
    """The nodes that an operation is a part of: those whose tensors it gives, or leads to next."""
    found, seen, pending = set(), set(), [operation]
    while pending:
        here = pending.pop()
        if here.get_instance_id() in seen:
            continue
        seen.add(here.get_instance_id())
        names = {name for port in here.outputs() for name in port.get_names()}
        known = {numbers[name] for name in names if name in numbers}
        found |= known
        if not known:
            pending += [
                target.get_node() for port in here.outputs() for target in port.get_target_inputs()
            ]
    return found


def _short(text: str) -> str:
    return " ".join(_NO_WORDS.sub("", text).split())[:_MAX_REASON]
