"""nn.Module -> an ONNX file of the whole model, with its marks, and PyTorch's own values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx_ir as ir
from torch import nn

from backends.contract import Array, Dynamic, Specs
from deploy.cutting.graph import MARK_DOMAIN, mark_function, spec_of
from deploy.exported import Exported
from deploy.marking import capture
from deploy.nested import named
from deploy.shapes import Axes
from deploy.tracing import ExportError, Inputs, arguments, evaluating, trace

__all__ = ["ExportError", "Exported", "export", "reference"]


def export(model: nn.Module, inputs: Inputs, out: Path, axes: Axes | None = None) -> Exported:
    """Export a model in evaluation mode.

    Args:
        model: the module; its training flags are as before afterwards.
        inputs: a sample of each input by name. The names are parameters of ``forward``, or, when
            none is, names for its positional arguments in order.
        out: the folder that gets ``exported.onnx`` and ``exported.onnx.data``.
        axes: the axes of each input that vary, with their sizes; every other size is fixed. Axes
            whose sizes have one name are of one size.

    Returns:
        Outputs are named by their keys or fields; else ``output``, or ``output.0`` and so on.

    Raises:
        ExportError: the inputs do not fit ``forward``, ``forward`` cannot be traced, an operator
            has no ONNX form, or an axis does not stay dynamic.
        MarkError: a mark does not fit its function.
    """
    varying = axes or {}
    _check_axes(varying, inputs)
    traced = trace(model, inputs, varying)
    _check_outputs(traced.outputs, inputs)
    graph = traced.model.graph
    for value, name in zip(graph.outputs, traced.outputs, strict=True):
        value.name = name
    spans = {span.name: span for of_input in varying.values() for span in of_input.values()}
    exported = Exported(
        out / "exported.onnx",
        _specs(graph.inputs, spans),
        _specs(graph.outputs, spans),
        traced.marks,
    )
    _check_stayed_dynamic(exported, varying)
    _save(traced.model, exported.onnx)
    return exported


def reference(model: nn.Module, inputs: Inputs) -> dict[str, Array]:
    """PyTorch's own values: every point, every graph input and every graph output by name.

    Raises:
        ExportError: the inputs do not fit ``forward``.
        MarkError: a mark does not fit its function.
    """
    args, kwargs = arguments(model, inputs)
    with evaluating(model), capture() as values:
        before = {name: value.clone() for name, value in inputs.items()}
        outputs = named(model(*args, **kwargs), "output")
    return {
        name: value.detach().cpu().numpy()
        for name, value in {**before, **values, **dict(outputs)}.items()
    }


def _specs(values: Sequence[ir.Value], spans: Mapping[str, Dynamic]) -> Specs:
    return tuple(spec_of(value, spans, {}, str(value.name), ExportError) for value in values)


def _check_axes(axes: Axes, inputs: Inputs) -> None:
    for name, of_input in axes.items():
        rank = inputs[name].dim()
        for axis, span in of_input.items():
            if axis >= rank:
                raise ExportError(
                    f"input '{name}'",
                    expected=f"an axis {axis} for '{span.name}'",
                    got="a scalar" if rank == 0 else f"{rank} axes",
                )


def _check_outputs(outputs: Sequence[str], inputs: Inputs) -> None:
    if not outputs:
        raise ExportError("the model returns no tensor")
    twice = sorted({name for name in outputs if outputs.count(name) > 1 or name in inputs})
    if twice:
        raise ExportError(
            "outputs of the model",
            expected="names of their own",
            got=f"{', '.join(twice)} twice, as two outputs or as input and output",
        )


def _check_stayed_dynamic(exported: Exported, axes: Axes) -> None:
    for spec in exported.inputs:
        for axis, span in axes.get(spec.name, {}).items():
            if span.min < span.max and spec.dims[axis] != span:
                raise ExportError(
                    f"axis '{span.name}' of input '{spec.name}'",
                    expected=f"{span.min} to {span.max}",
                    got=f"fixed at {spec.dims[axis]} by the exporter",
                    do="Look for a size that forward takes from a constant or turns into an int.",
                )


def _save(model: ir.Model, path: Path) -> None:
    model.graph.opset_imports.setdefault(MARK_DOMAIN, 1)
    function = mark_function(model.graph.opset_imports[""])
    model.functions[function.identifier()] = function
    path.parent.mkdir(parents=True, exist_ok=True)
    ir.save(model, path, external_data=f"{path.name}.data")
