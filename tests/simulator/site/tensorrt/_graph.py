"""An ONNX file as the parser reads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import checker, external_data_helper, inliner, shape_inference

from ._enums import ErrorCode
from ._faulty import Fault
from ._importers import first_fault
from ._operators import (
    faults_of_inputs,
    faults_of_nodes,
    faults_of_ranks,
    faults_of_weights,
)


class RefusedError(Exception):
    """A graph that TensorRT does not take."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*(fault.text for fault in faults))
        self.faults = faults


def parse(data: bytes, folder: Path | None) -> onnx.ModelProto:
    """The whole model: its weights in it, functions inlined, types inferred.

    Raises:
        RefusedError: everything that TensorRT does not take.
    """
    model = _inferred(read(data, folder))
    # before the checker, which has other words for the same
    if faults := _faults(model):
        raise RefusedError(*faults)
    try:
        checker.check_model(model)
    except checker.ValidationError as error:
        raise RefusedError(Fault(ErrorCode.INVALID_GRAPH, str(error))) from error
    return model


def read(data: bytes, folder: Path | None) -> onnx.ModelProto:
    """The model with its weights in it, and without functions.

    Raises:
        RefusedError: it cannot be read.
    """
    try:
        model = onnx.ModelProto.FromString(data)
        if not model.graph.node and not model.graph.output:
            raise DecodeError("there is no graph in it")
    except DecodeError as error:
        text = f"Failed to parse the ONNX model: {error}"
        raise RefusedError(Fault(ErrorCode.MODEL_DESERIALIZE_FAILED, text)) from error
    try:
        if folder is not None:
            external_data_helper.load_external_data_for_model(model, str(folder))
    except (OSError, checker.ValidationError) as error:
        text = f"Failed to import initializer: {error}"
        fault = Fault(ErrorCode.INVALID_GRAPH, text, function="importInitializers")
        raise RefusedError(fault) from error
    return inliner.inline_local_functions(_of_one_version(model))


def _of_one_version(model: onnx.ModelProto) -> onnx.ModelProto:
    """Functions of the model's own opsets, without which they are not inlined."""
    versions = {opset.domain: opset.version for opset in model.opset_import}
    for function in model.functions:
        for opset in function.opset_import:
            opset.version = versions.get(opset.domain, opset.version)
    return model


def inputs(graph: onnx.GraphProto) -> Iterator[onnx.ValueInfoProto]:
    """Those that are no weights."""
    weights = {weight.name for weight in graph.initializer}
    return (value for value in graph.input if value.name not in weights)


def sizes(value: onnx.ValueInfoProto) -> list[int]:
    """-1 is not known."""
    dims = value.type.tensor_type.shape.dim
    return [size.dim_value if size.HasField("dim_value") else -1 for size in dims]


def _faults(model: onnx.ModelProto) -> list[Fault]:
    """What TensorRT does not take, in the order in which it looks."""
    graph = model.graph
    found, of_weights = [*faults_of_inputs(graph)], [*faults_of_weights(graph)]
    found += of_weights or faults_of_nodes(graph)
    if found:
        return found
    first = first_fault(model)
    return [first] if first is not None else [*faults_of_ranks(graph)]


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return shape_inference.infer_shapes(model, data_prop=True)
    except shape_inference.InferenceError as error:
        raise RefusedError(Fault(ErrorCode.INVALID_GRAPH, str(error))) from error
