"""An ONNX file -> a graph to cut: everything in its plainest form, large weights left on disk."""

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

from backends.contract import Array, DeployError, Dim, Specs
from backends.onnx.model_file import OnnxFileError, read_without_weights
from deploy.graph.exported import Exported
from deploy.graph.shape_inference import infer_shapes

Block = onnx.GraphProto | onnx.FunctionProto


_DENSE_LIMIT = 2**30  # values of a sparse tensor that is written out


def load_graph(exported: Exported) -> ir.Model:
    """Read a model.

    Weights of the top graph stay on disk; sparse ones are made dense, and those that are
    graph inputs too, as in old files, are weights alone. Shapes that the file leaves out are
    inferred where every tensor is a place to cut.

    Raises:
        DeployError: the file is no ONNX model, or its weights lie where they must not.
    """
    proto = read_without_weights(exported.onnx)
    for graph in _graphs(proto):
        _simplify_attributes(graph, exported.onnx.resolve().parent)
    for body in (proto.graph, *_bodies(proto.graph)):
        _densify_initializers(body)
    _drop_defaults(proto.graph)
    if not _in_order(proto.graph):
        proto = _ordered(proto)
    if exported.by_name:
        changed = fix_sizes(proto.graph, exported.inputs)
        if changed or not _has_all_shapes(proto.graph):
            proto = infer_shapes(proto, str(exported.onnx))
    model = ir.serde.deserialize_model(proto)
    ir.external_data.set_base_dir(model.graph, exported.onnx.resolve().parent)
    return model


def _in_order(graph: onnx.GraphProto) -> bool:
    """Whether every node stands behind those that it needs, which some tools do not care about."""
    made = {name for node in graph.node for name in node.output if name}
    for node in graph.node:
        if not made.isdisjoint(node.input):
            return False
        made.difference_update(filter(None, node.output))
    return True


def _ordered(proto: onnx.ModelProto) -> onnx.ModelProto:
    model = ir.serde.deserialize_model(proto)
    model.graph.sort()
    return ir.serde.serialize_model(model)


def _has_all_shapes(graph: onnx.GraphProto) -> bool:
    """Whether the file tells the shape of every tensor, so that none has to be inferred."""
    known = {
        value.name
        for value in (*graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
        and all(dim.WhichOneof("value") for dim in value.type.tensor_type.shape.dim)
    }
    return all(name in known for node in graph.node for name in node.output if name)


def fix_sizes(graph: onnx.GraphProto, inputs: Specs) -> bool:
    """Give the open sizes of the graph's inputs, wherever they occur, those of the specs.

    Returns:
        Whether there were any.
    """
    specs = {spec.name: spec for spec in inputs}
    known: dict[str, Dim] = {}
    changed = False
    for value in graph.input:
        if not value.type.HasField("tensor_type"):
            continue  # a sequence, say, which the segment that takes it refuses
        sizes, tensor = specs[value.name].shape, value.type.tensor_type
        if sizes is None:
            continue
        if not tensor.HasField("shape"):
            tensor.shape.dim.extend(onnx.TensorShapeProto.Dimension() for _ in sizes)
        for dim, size in zip(tensor.shape.dim, sizes, strict=True):
            if not dim.HasField("dim_value"):
                if dim.dim_param:
                    known[dim.dim_param] = size
                _set(dim, size)
                changed = True
    for value in (*graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in known:
                _set(dim, known[dim.dim_param])
    return changed


def _set(dim: onnx.TensorShapeProto.Dimension, size: Dim) -> None:
    if isinstance(size, int):
        dim.dim_value = size
    else:
        dim.dim_param = size.name


def _simplify_attributes(graph: Block, folder: Path) -> None:
    """Bring tensors into memory, of which none is large, and write sparse ones out."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _bring_in(attribute.t, folder)
            elif attribute.type == onnx.AttributeProto.TENSORS:
                for tensor in attribute.tensors:
                    _bring_in(tensor, folder)
            elif attribute.type == onnx.AttributeProto.SPARSE_TENSOR:
                dense = numpy_helper.from_array(_dense(attribute.sparse_tensor))
                attribute.CopyFrom(onnx.helper.make_attribute("value", dense))
            elif attribute.type == onnx.AttributeProto.GRAPH:
                for tensor in attribute.g.initializer:
                    _bring_in(tensor, folder)


def _bring_in(tensor: onnx.TensorProto, folder: Path) -> None:
    if uses_external_data(tensor):
        load_external_data_for_tensor(tensor, str(folder))
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT


def _densify_initializers(graph: onnx.GraphProto) -> None:
    """The graph library knows no sparse weights."""
    for sparse in graph.sparse_initializer:
        graph.initializer.append(numpy_helper.from_array(_dense(sparse), sparse.values.name))
    del graph.sparse_initializer[:]


def _dense(sparse: onnx.SparseTensorProto) -> Array:
    """Indices are flat positions (n,), or one row of coordinates (n, rank) for each value."""
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
        where = np.unravel_index(indices, shape) if indices.ndim == 1 else tuple(indices.T)
        dense[where] = values
    except (IndexError, ValueError) as error:
        raise DeployError(f"sparse tensor '{sparse.values.name}': {error}") from error
    return dense


def _drop_defaults(graph: onnx.GraphProto) -> None:
    weights = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.input if value.name not in weights]
    if len(kept) < len(graph.input):
        del graph.input[:]
        graph.input.extend(kept)


def _graphs(model: onnx.ModelProto) -> Iterator[Block]:
    """Everything that holds nodes."""
    for block in (model.graph, *model.functions):
        yield block
        yield from _bodies(block)


def _bodies(block: Block) -> Iterator[onnx.GraphProto]:
    for node in block.node:
        for attribute in node.attribute:
            graphs = [attribute.g] if attribute.HasField("g") else []
            for graph in (*graphs, *attribute.graphs):
                yield graph
                yield from _bodies(graph)


_FAULTS = (  # what the graph's libraries raise
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
    """What the graph's libraries make of a file that breaks ONNX's rules; an export keeps them."""
    try:
        yield
    except _FAULTS as error:
        if not exported.by_name:
            raise
        raise OnnxFileError(
            f"model '{exported.onnx}' breaks ONNX's rules: "
            f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]}",
            do="Save it again with an exporter that you trust.",
        ) from error
