"""Shapes that were observed in a run, where what was inferred of a graph contradicts them.

Inference can be wrong of an operator, and a file of its tensors. A contradicted tensor gets the
observed shape, and the node that gives it is hidden while the shapes behind it are inferred.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
from onnx.helper import np_dtype_to_tensor_dtype

from backends.contract import UNBOUNDED, Dim, Dynamic, Specs, Tensors, TensorSpec
from deploy.graph.value_types import is_numeric

_HIDDEN = "hidden."  # before the domain of an operator: no inference knows that

_TRUSTED_NAMES = """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh AveragePool BatchNormalization Cast CastLike Ceil
    Celu Clip Concat Constant ConstantOfShape Conv Cos Cosh CumSum DequantizeLinear Div Dropout
    Elu Equal Erf Exp Expand Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm
    GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish
    Hardmax Identity InstanceNormalization IsInf IsNaN LSTM LRN LayerNormalization LeakyRelu Less
    LessOrEqual Log LogSoftmax MatMul MatMulInteger Max MaxPool Mean Min Mish Mod Mul Neg Not Or
    PRelu Pad Pow QuantizeLinear RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum
    ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu
    Reshape Resize Round ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Sinh Size Slice
    Softmax Softplus Softsign Split Sqrt Squeeze Sub Sum Tan Tanh Tile Transpose Trilu Unsqueeze
    Upsample Where Xor
"""
_TRUSTED = frozenset(_TRUSTED_NAMES.split())


def has_uncommon_operators(graph: onnx.GraphProto) -> bool:
    """Whether there is an operator whose inference of shapes few have tried."""
    return any(not _is_trusted(node.domain, node.op_type) for node in graph.node)


def uncommon_tensors(graph: ir.Graph) -> list[ir.Value]:
    """The tensors of known rank that such operators give."""
    return [
        value
        for node in graph
        if not _is_trusted(node.domain, node.op_type)
        for value in node.outputs
        if value.name and value.shape is not None and is_numeric(value)
    ]


def _is_trusted(domain: str, operator: str) -> bool:
    return operator in _TRUSTED and domain in ("", "ai.onnx")


def observed_specs(specs: Specs, values: Tensors, inputs: Specs) -> Specs:
    """The spec of each tensor whose value has another shape than its spec says.

    Where an input has an open size, a size that differs is open: one run does not tell what it is
    in others.

    Args:
        specs: of tensors.
        values: of one run at the typical sizes, by the same names. A spec may have none.
        inputs: of the graph.
    """
    sizes = {dim.name: dim.opt for spec in inputs for dim in spec.dims if isinstance(dim, Dynamic)}
    return tuple(
        replace(spec, shape=_open_sizes(spec, values, sizes) if sizes else values[spec.name].shape)
        for spec in specs
        if spec.name in values and not _fits(spec, values[spec.name].shape, sizes)
    )


def _fits(spec: TensorSpec, shape: tuple[int, ...], sizes: Mapping[str, int]) -> bool:
    if spec.shape is None:
        return True
    return len(shape) == len(spec.shape) and all(
        _may_be(dim, size, sizes) for dim, size in zip(spec.shape, shape, strict=True)
    )


def _may_be(dim: Dim, size: int, sizes: Mapping[str, int]) -> bool:
    """Whether a dimension may have a size, where the dynamic sizes of the inputs are these.

    A segment may have a range of its own for a dynamic size, and others depend on the data.
    """
    return dim == size if isinstance(dim, int) else sizes.get(dim.name, size) == size


def _open_sizes(spec: TensorSpec, values: Tensors, sizes: Mapping[str, int]) -> tuple[Dim, ...]:
    shape = values[spec.name].shape
    dims = spec.dims if len(spec.dims) == len(shape) else (None,) * len(shape)
    return tuple(
        dim
        if dim is not None and _may_be(dim, size, sizes)
        else Dynamic(f"{spec.name}_{axis}", 0, 1, UNBOUNDED)
        for axis, (dim, size) in enumerate(zip(dims, shape, strict=True))
    )


def hide_producers(model: onnx.ModelProto, observed: Specs) -> None:
    """Give tensors their observed shapes, and hide the nodes that give them from inference."""
    graph = model.graph
    specs = {spec.name: spec for spec in observed}
    functions = {(function.domain, function.name) for function in model.functions}
    values = {value.name: value for value in (*graph.value_info, *graph.output)}
    domains = set()
    for node in graph.node:
        names = [name for name in node.output if name in specs]
        for name in names:
            value = values[name] if name in values else graph.value_info.add(name=name)
            _set_type(value, specs[name])
        if names and (node.domain, node.op_type) not in functions:
            node.domain = f"{_HIDDEN}{node.domain}"
            domains.add(node.domain)
    for domain in sorted(domains):
        model.opset_import.add(domain=domain, version=1)


def show_producers(model: onnx.ModelProto) -> None:
    """Undo the hiding of nodes; the shapes stay."""
    for node in model.graph.node:
        node.domain = node.domain.removeprefix(_HIDDEN)
    opsets = [opset for opset in model.opset_import if not opset.domain.startswith(_HIDDEN)]
    kept = [onnx.helper.make_opsetid(opset.domain, opset.version) for opset in opsets]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def given_by_hidden(graph: onnx.GraphProto) -> frozenset[str]:
    """The tensors that hidden nodes give."""
    return frozenset(
        name for node in graph.node if node.domain.startswith(_HIDDEN) for name in node.output
    )


def _set_type(value: onnx.ValueInfoProto, spec: TensorSpec) -> None:
    tensor = value.type.tensor_type
    tensor.elem_type = np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    tensor.shape.Clear()
    tensor.shape.SetInParent()
    for dim in spec.dims:
        if isinstance(dim, Dynamic):
            tensor.shape.dim.add(dim_param=dim.name)
        else:
            tensor.shape.dim.add(dim_value=dim)
