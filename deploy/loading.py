"""An ONNX file -> a graph to cut: everything in its plainest form, large weights left on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper
from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

from backends.contract import Array, DeployError, Dim, Specs
from backends.onnx_file import read_skeleton
from deploy.exported import Exported

_DENSE_LIMIT = 2**30  # values of a sparse tensor that is written out


def load_graph(exported: Exported) -> ir.Model:
    """Read a model.

    Weights of the top graph stay on disk; sparse ones are made dense, and those that are
    graph inputs too, as in old files, are weights alone. Shapes that the file leaves out are
    inferred where every tensor is a place to cut.

    Raises:
        DeployError: the file is no ONNX model, or its weights lie where they must not.
    """
    proto = read_skeleton(exported.onnx)
    _load_inner_tensors(proto, exported.onnx.resolve().parent)
    _densify(proto)
    _drop_defaults(proto.graph)
    if exported.by_name:
        fix_sizes(proto.graph, exported.inputs)
        proto = inferred(proto)
    model = ir.serde.deserialize_model(proto)
    ir.external_data.set_base_dir(model.graph, exported.onnx.resolve().parent)
    return model


def inferred(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the shapes that follow from its inputs'."""
    return onnx.shape_inference.infer_shapes(proto, data_prop=True)


def fix_sizes(graph: onnx.GraphProto, inputs: Specs) -> None:
    """Give the open sizes of the graph's inputs, wherever they occur, those of the specs."""
    specs = {spec.name: spec for spec in inputs}
    known: dict[str, Dim] = {}
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
    for value in (*graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in known:
                _set(dim, known[dim.dim_param])


def _set(dim: onnx.TensorShapeProto.Dimension, size: Dim) -> None:
    if isinstance(size, int):
        dim.dim_value = size
    else:
        dim.dim_param = size.name


def _load_inner_tensors(model: onnx.ModelProto, folder: Path) -> None:
    """Bring the tensors of attributes and bodies into memory; none of them is large."""
    for graph in _graphs(model):
        for node in graph.node:
            for attribute in node.attribute:
                for tensor in (attribute.t, *attribute.tensors):
                    _bring_in(tensor, folder)
    for body in _bodies(model.graph):
        for tensor in body.initializer:
            _bring_in(tensor, folder)


def _bring_in(tensor: onnx.TensorProto, folder: Path) -> None:
    if uses_external_data(tensor):
        load_external_data_for_tensor(tensor, str(folder))
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT


def _densify(model: onnx.ModelProto) -> None:
    """Write sparse weights and constants out: the graph library knows dense ones only."""
    for graph in (model.graph, *_bodies(model.graph)):
        for sparse in graph.sparse_initializer:
            dense = numpy_helper.from_array(_dense(sparse), sparse.values.name)
            graph.initializer.append(dense)
        del graph.sparse_initializer[:]
    for graph in _graphs(model):
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.SPARSE_TENSOR:
                    dense = numpy_helper.from_array(_dense(attribute.sparse_tensor))
                    attribute.CopyFrom(onnx.helper.make_attribute("value", dense))


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


Block = onnx.GraphProto | onnx.FunctionProto


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
