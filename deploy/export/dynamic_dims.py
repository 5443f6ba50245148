"""Dynamic sizes for PyTorch's exporter, and their names in the graph that it gives."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import onnx_ir as ir
import torch

from backends.contract import Dynamic
from deploy.recipe.dynamic_shapes import DynamicAxes

_STEPS = "_steps"  # a size that is a multiple is a number of steps for the exporter


def dynamic_dims(axes: DynamicAxes) -> dict[str, Any]:
    """The exporter's dimension for each size that varies, by its name."""
    ranges = {size for input_axes in axes.values() for size in input_axes.values()}
    return {size.name: _dim(size) for size in ranges if size.min < size.max}


def sample_size(size: Dynamic) -> int:
    """A size for tracing: near the typical one, and not one of 0 and 1, which are special cases."""
    return min(max(2 * size.multiple, size.opt), size.max)


def _dim(size: Dynamic) -> Any:
    if size.multiple == 1:
        return torch.export.Dim(size.name, min=size.min, max=size.max)
    least, most = size.min // size.multiple, size.max // size.multiple
    return size.multiple * torch.export.Dim(f"{size.name}{_STEPS}", min=least, max=most)


def name_multiples(program: torch.onnx.ONNXProgram, axes: DynamicAxes) -> None:
    """Call each size that is a multiple by its own name, also where others are computed from it.

    The exporter calls it ``32*height_steps`` at the input, and ``32*s29`` behind it.
    """
    sizes = dict(_exporter_names(program, axes))
    if not sizes:
        return
    replacements = {
        re.compile(rf"\b(?:{symbol}|{re.escape(size.name)}{_STEPS})\b"): size
        for symbol, size in sizes.items()
    }
    for value in _values(program.model):
        if value.shape is None:
            continue
        shape = value.shape.copy()
        for axis, dim in enumerate(shape):
            if isinstance(dim, ir.SymbolicDim) and dim.value is not None:
                shape[axis] = _renamed(dim.value, replacements)
        value.shape = shape


def _renamed(text: str, replacements: Mapping[re.Pattern[str], Dynamic]) -> str:
    for symbol, size in replacements.items():
        if symbol.sub("", text) == f"{size.multiple}*":
            return size.name
        text = symbol.sub(f"({size.name}//{size.multiple})", text)
    return text


def _exporter_names(
    program: torch.onnx.ONNXProgram, axes: DynamicAxes
) -> Iterator[tuple[str, Dynamic]]:
    exported = program.exported_program
    assert exported is not None, "the exporter traced it"
    names = exported.graph_signature.user_inputs
    nodes = [node for node in exported.graph.nodes if node.op == "placeholder"]
    tensors = [node.meta["val"] for node in nodes if node.name in names]
    for value, tensor in zip(program.model.graph.inputs, tensors, strict=True):
        for axis, size in axes.get(str(value.name), {}).items():
            steps = tensor.shape[axis]
            if size.multiple > 1 and isinstance(steps, torch.SymInt):
                (symbol,) = steps.node.expr.free_symbols
                yield str(symbol), size


def _values(model: ir.Model) -> Iterable[ir.Value]:
    yield from model.graph.inputs
    for node in model.graph.all_nodes():
        yield from node.outputs
