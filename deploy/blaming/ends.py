"""The ends of a part of a segment, made such that every backend and NumPy can take them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import onnx
from onnx import TensorProto, helper

from backends.contract import Dynamic, Segment, Specs, Tensors

_NARROW = "bfloat16"


def sized(segment: Segment, values: Tensors) -> Segment:
    """The segment with fixed sizes at its ends; its file is changed in place where there is need.

    What infers shapes does not know them all, and the values show them.

    Args:
        segment: a part of a segment of fixed sizes.
        values: of its inputs and outputs, by their names.
    """
    ends = (*segment.inputs, *segment.outputs)
    unknown = {spec.name for spec in ends if _is_open(spec.shape)}
    if not unknown:
        return segment
    model = onnx.load(segment.onnx, load_external_data=False)
    for value in (*model.graph.input, *model.graph.output):
        if value.name in unknown:
            dims = [_dim(size) for size in values[value.name].shape]
            del value.type.tensor_type.shape.dim[:]
            value.type.tensor_type.shape.dim.extend(dims)
            value.type.tensor_type.shape.SetInParent()
    onnx.save(model, segment.onnx)
    inputs, outputs = (
        tuple(replace(spec, shape=values[spec.name].shape) for spec in specs)
        for specs in (segment.inputs, segment.outputs)
    )
    return replace(segment, inputs=inputs, outputs=outputs)


def widened(segment: Segment) -> Segment:
    """The segment with Casts at those ends that are bfloat16, which NumPy has not; likewise."""
    if not any(spec.dtype == _NARROW for spec in (*segment.inputs, *segment.outputs)):
        return segment
    model = onnx.load(segment.onnx, load_external_data=False)
    graph = model.graph
    taken = {value.name: f"{value.name}.{_NARROW}" for value in _narrow(graph.input)}
    given = {value.name: f"{value.name}.float32" for value in _narrow(graph.output)}
    for node in graph.node:
        node.input[:] = [taken.get(name, name) for name in node.input]
    before = [_cast(name, inner, TensorProto.BFLOAT16) for name, inner in taken.items()]
    after = [_cast(name, outer, TensorProto.FLOAT) for name, outer in given.items()]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    for value in _narrow((*graph.input, *graph.output)):
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    for value in graph.output:
        value.name = given.get(value.name, value.name)
    onnx.save(model, segment.onnx)
    return replace(segment, inputs=_wide(segment.inputs, {}), outputs=_wide(segment.outputs, given))


def _is_open(shape: Iterable[object] | None) -> bool:
    return shape is None or any(isinstance(dim, Dynamic) for dim in shape)


def _dim(size: int) -> onnx.TensorShapeProto.Dimension:
    return onnx.TensorShapeProto.Dimension(dim_value=size)


def _narrow(values: Iterable[onnx.ValueInfoProto]) -> list[onnx.ValueInfoProto]:
    return [one for one in values if one.type.tensor_type.elem_type == TensorProto.BFLOAT16]


def _cast(source: str, target: str, dtype: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=target, to=dtype)


def _wide(specs: Specs, names: Mapping[str, str]) -> Specs:
    return tuple(
        replace(spec, name=names.get(spec.name, spec.name), dtype="float32")
        if spec.dtype == _NARROW
        else spec
        for spec in specs
    )
