"""An ONNX file -> a graph to cut, simplified, with its large weights left on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import EncodeError
from onnx import numpy_helper
from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

from backends.contract import Array, DeployError, Dim, Specs, Tensors
from backends.onnx.functions import blocks
from backends.onnx.model_file import OnnxFileError, read_without_weights
from backends.onnx.specs import fixed_size
from deploy.graph.exported import Exported
from deploy.graph.observed_shapes import hide_producers, show_producers
from deploy.graph.simplification import simplify_graph
from deploy.graph.value_types import set_aside_unknown_types
from deploy.graph.writing import MIN_IR_VERSION

_DENSE_LIMIT = 2**30  # values of a sparse tensor that is written out


def load_graph(exported: Exported, *, fold: bool = False) -> ir.Model:
    """Read a model.

    Weights of the top graph stay on disk. Sparse tensors become dense. Weights that are graph
    inputs too, as in old files, become weights alone. Where every tensor is a cut point, functions
    are inlined, and shapes that the file leaves out are inferred.

    Args:
        exported: the model.
        fold: whether nodes become constants that give the same values in every run, such as those
            that compute with sizes which are fixed.

    Raises:
        DeployError: the file is no ONNX model, or its weights lie where they must not.
    """
    proto = read_without_weights(exported.onnx)
    folder = exported.onnx.resolve().parent
    _simplify(proto, folder)
    if exported.constants:
        _fix_input_values(proto.graph, exported.constants)
    if not _is_sorted(proto.graph):
        proto = _sorted(proto)
    if exported.by_name:
        changed = _fix_input_sizes(proto.graph, exported.inputs) or bool(exported.observed)
        hide_producers(proto, exported.observed)
        proto = simplify_graph(proto, str(exported.onnx), sizes_changed=changed, fold=fold)
        show_producers(proto)
    set_aside_unknown_types(proto.graph)
    model = ir.serde.deserialize_model(proto)
    ir.external_data.set_base_dir(model.graph, folder)
    return model


def _is_sorted(graph: onnx.GraphProto) -> bool:
    """Whether every node stands behind those that it needs, which some exporters neglect.

    To look is much cheaper than to sort, for which the graph is deserialised.
    """
    later = {name for node in graph.node for name in node.output if name}
    for node in graph.node:
        if not later.isdisjoint(node.input):
            return False
        later.difference_update(filter(None, node.output))
    return True


def _sorted(proto: onnx.ModelProto) -> onnx.ModelProto:
    set_aside_unknown_types(proto.graph)
    model = ir.serde.deserialize_model(proto)
    model.graph.sort()
    return ir.serde.serialize_model(model)


def _fix_input_values(graph: onnx.GraphProto, values: Tensors) -> None:
    """Turn inputs into constants."""
    kept = [value for value in graph.input if value.name not in values]
    constants = [
        onnx.helper.make_node(
            "Constant", [], [name], value=numpy_helper.from_array(np.asarray(value), name)
        )
        for name, value in values.items()
    ]
    nodes = [*constants, *graph.node]
    del graph.input[:], graph.node[:]
    graph.input.extend(kept)
    graph.node.extend(nodes)


def _fix_input_sizes(graph: onnx.GraphProto, inputs: Specs) -> bool:
    """Replace the open sizes of the graph's inputs, wherever they occur, by those of the specs.

    Returns:
        Whether there were any.
    """
    specs = {spec.name: spec for spec in inputs}
    sizes_by_name: dict[str, Dim] = {}
    changed = False
    for value in graph.input:
        if not value.type.HasField("tensor_type"):
            continue  # such as a sequence, which the segment that takes it refuses
        sizes, tensor = specs[value.name].shape, value.type.tensor_type
        if sizes is None:
            continue
        if not tensor.HasField("shape"):
            tensor.shape.dim.extend(onnx.TensorShapeProto.Dimension() for _ in sizes)
        for dim, size in zip(tensor.shape.dim, sizes, strict=True):
            if not dim.HasField("dim_value"):
                if dim.dim_param:
                    sizes_by_name[dim.dim_param] = size
                _set_size(dim, size)
                changed = True
    for value in (*graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes_by_name:
                _set_size(dim, sizes_by_name[dim.dim_param])
    return changed


def _set_size(dim: onnx.TensorShapeProto.Dimension, size: Dim) -> None:
    if isinstance(size, int):
        dim.dim_value = size
    else:
        dim.dim_param = size.name


def _simplify(model: onnx.ModelProto, folder: Path) -> None:
    """Bring all tensors but the weights of the top graph into memory, and make sparse ones dense.

    The graph library knows no sparse tensors, and shape inference takes no weight for a constant
    that is a graph input too.
    """
    for block in blocks(model):
        for node in block.node:
            for attribute in node.attribute:
                _simplify_attribute(attribute, folder)
        if isinstance(block, onnx.GraphProto):
            _densify_initializers(block)
            if block is not model.graph:
                for tensor in block.initializer:
                    _load_external_data(tensor, folder)
            _open_invalid_sizes(block)
    _drop_weight_inputs(model)


def _simplify_attribute(attribute: onnx.AttributeProto, folder: Path) -> None:
    if attribute.type == onnx.AttributeProto.TENSOR:
        _load_external_data(attribute.t, folder)
    elif attribute.type == onnx.AttributeProto.TENSORS:
        for tensor in attribute.tensors:
            _load_external_data(tensor, folder)
    elif attribute.type == onnx.AttributeProto.SPARSE_TENSOR:
        dense = numpy_helper.from_array(_dense(attribute.sparse_tensor))
        attribute.CopyFrom(onnx.helper.make_attribute("value", dense))


def _load_external_data(tensor: onnx.TensorProto, folder: Path) -> None:
    if uses_external_data(tensor):
        load_external_data_for_tensor(tensor, str(folder))
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT


def _densify_initializers(graph: onnx.GraphProto) -> None:
    for sparse in graph.sparse_initializer:
        graph.initializer.append(numpy_helper.from_array(_dense(sparse), sparse.values.name))
    del graph.sparse_initializer[:]


def _dense(sparse: onnx.SparseTensorProto) -> Array:
    """The tensor as an array; its indices are flat (n,), or coordinates (n, rank)."""
    shape = tuple(sparse.dims)
    if min(shape, default=1) < 0 or np.prod(shape, dtype=np.float64) > _DENSE_LIMIT:
        raise DeployError(
            f"sparse tensor '{sparse.values.name}'",
            expected=f"at most {_DENSE_LIMIT:,} values when written out",
            got=f"shape {list(shape)}",
        )
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    dense: Array = np.zeros(shape, values.dtype)
    try:
        index = np.unravel_index(indices, shape) if indices.ndim == 1 else tuple(indices.T)
        dense[index] = values
    except (IndexError, ValueError) as error:
        raise DeployError(f"sparse tensor '{sparse.values.name}': {error}") from error
    return dense


def _open_invalid_sizes(graph: onnx.GraphProto) -> None:
    """Clear the sizes by which some exporters say that a size is open."""
    for value in (*graph.input, *graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_value") and fixed_size(dim) is None:
                dim.ClearField("dim_value")
    for value in graph.value_info:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value < 0:  # inside the graph a tensor may be empty
                dim.ClearField("dim_value")


def _drop_weight_inputs(model: onnx.ModelProto) -> None:
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.input if value.name not in weights]
    if len(kept) < len(graph.input):
        del graph.input[:]
        graph.input.extend(kept)
    # of an older version, shape inference would take weights that are no inputs for unknown
    model.ir_version = max(model.ir_version, MIN_IR_VERSION)


_LIBRARY_ERRORS = (  # what the graph's libraries raise
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    OverflowError,
    EncodeError,
    onnx.shape_inference.InferenceError,
    onnx.checker.ValidationError,
)


@contextmanager
def onnx_rule_errors(exported: Exported) -> Iterator[None]:
    """Turn errors of the graph's libraries into one that says that the file breaks ONNX's rules.

    Not for an export of PyTorch: there they are faults of this program.

    Raises:
        OnnxFileError: from the library's error.
    """
    try:
        yield
    except _LIBRARY_ERRORS as error:
        if not exported.by_name:
            raise
        raise OnnxFileError(
            f"model '{exported.onnx}' breaks ONNX's rules: "
            f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]}",
            do="Save it again with an exporter that you trust.",
        ) from error
