"""Shapes of the tensors of an ONNX graph, as its operators and its inputs determine them."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx.shape_inference import InferenceError

from deploy.graph.observed_shapes import given_by_hidden

Hints = Mapping[str, onnx.ValueInfoProto]
"""What a file itself says of its tensors, by their names."""

_INVENTED = "unk__"  # what onnx calls a size that it cannot infer


def infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every shape that follows from its operators, or else from what it says.

    Raises:
        InferenceError: operators contradict each other in types.
    """
    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except InferenceError:  # perhaps what the file says of a tensor is wrong
        hints, inferred = take_hints(model), infer_without_hints(model)
        return restore_hints(inferred, hints)


def take_hints(model: onnx.ModelProto) -> Hints:
    """What the file says of the tensors that nodes give."""
    return {value.name: value for value in (*model.graph.value_info, *model.graph.output)}


def infer_without_hints(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the shapes that follow from its operators alone.

    What a file says of a tensor can be wrong, such as a batch of 1 where an exporter left the
    batch of the input open afterwards.

    Raises:
        InferenceError: operators contradict each other in types.
    """
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    observed = given_by_hidden(bare.graph)
    kept = [value for value in model.graph.value_info if value.name in observed]
    del bare.graph.value_info[:]
    bare.graph.value_info.extend(kept)
    for output in bare.graph.output:
        if output.type.HasField("tensor_type") and output.name not in observed:
            output.type.tensor_type.ClearField("shape")
    return _infer_what_works(bare)


def restore_hints(model: onnx.ModelProto, hints: Hints) -> onnx.ModelProto:
    """The model with what its file says of tensors of which nothing was inferred.

    Where all inputs are of fixed size, also with single sizes that were not inferred.
    """
    graph = model.graph
    known = {value.name: value for value in (*graph.value_info, *graph.output)}
    fixed = all(has_fixed_shape(value) for value in graph.input)
    restored = False
    for name, hint in hints.items():
        value = known.get(name)
        if value is None:
            graph.value_info.append(hint)
        elif not has_shape(value) and has_shape(hint):
            value.CopyFrom(hint)
        elif not (fixed and _restore_sizes(value, hint)):
            continue
        restored = True
    return _infer_what_works(model) if restored else model


def _restore_sizes(value: onnx.ValueInfoProto, hint: onnx.ValueInfoProto) -> bool:
    dims, hinted = value.type.tensor_type.shape.dim, hint.type.tensor_type.shape.dim
    restored = False
    for dim, hinted_dim in zip(dims, hinted, strict=False) if len(dims) == len(hinted) else ():
        unknown = not dim.HasField("dim_value") and (
            not dim.dim_param or dim.dim_param.startswith(_INVENTED)
        )
        if unknown and hinted_dim.HasField("dim_value"):
            dim.dim_value, restored = hinted_dim.dim_value, True
    return restored


def _infer_what_works(model: onnx.ModelProto) -> onnx.ModelProto:
    """Inference that leaves out the operators that it cannot deal with."""
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except InferenceError:  # the propagation of values knows less of them
        return onnx.shape_inference.infer_shapes(model)


def has_shape(value: onnx.ValueInfoProto) -> bool:
    """Whether the rank of a tensor is known."""
    return bool(value.type.tensor_type.HasField("shape"))


def has_fixed_shape(value: onnx.ValueInfoProto) -> bool:
    """Whether all sizes of a tensor are known."""
    dims = value.type.tensor_type.shape.dim
    return has_shape(value) and all(dim.HasField("dim_value") for dim in dims)
