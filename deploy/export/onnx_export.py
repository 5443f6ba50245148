"""nn.Module -> an ONNX file of the whole model with its marks; and the eager model's values."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import nn

from backends.contract import Array, DeployError, Dynamic, Specs
from deploy.export.marks import capture, exporting, restart
from deploy.export.nested_tensors import named_tensors
from deploy.graph.exported import Exported
from deploy.graph.nodes import MARK_DOMAIN, mark_function
from deploy.graph.points import MarkedTensor
from deploy.graph.specs import spec_of
from deploy.recipe.dynamic_shapes import DynamicAxes

Inputs = Mapping[str, torch.Tensor]


# what the exporter raises, and what a forward raises that cannot stand being traced
_FAILURES = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError)


class ExportError(DeployError):
    """A model that cannot be exported, or not with these inputs."""


@dataclass(frozen=True)
class Traced:
    """The exporter's graph, the name of each of its outputs, and the tensors marked in it."""

    model: ir.Model
    outputs: tuple[str, ...]
    marks: tuple[MarkedTensor, ...]


def arguments(model: nn.Module, inputs: Inputs) -> tuple[tuple[torch.Tensor, ...], dict[str, Any]]:
    """How to call the model: by keyword in the order of its parameters, or by position.

    Raises:
        ExportError: some of the names are parameters of ``forward``, and some are not.
    """
    parameters = inspect.signature(model.forward).parameters
    if inputs.keys() <= parameters.keys():
        return (), {name: inputs[name] for name in parameters if name in inputs}
    if inputs.keys() & parameters.keys():
        raise ExportError(
            "inputs of the model",
            expected=f"parameters of forward ({', '.join(parameters)}), or none of them",
            got=", ".join(inputs),
        )
    return tuple(inputs.values()), {}


def trace(model: nn.Module, inputs: Inputs, axes: DynamicAxes) -> Traced:
    """Trace a model in evaluation mode, quietly.

    Raises:
        ExportError: the inputs do not fit, ``forward`` cannot be traced, or an operator has no
            ONNX form.
        MarkError: a mark does not fit its function.
    """
    names: list[str] = []
    with evaluating(model), _flat_outputs(model, names), _quiet(), exporting() as marks:
        program = _program(model, _sized(inputs, axes), axes)
    return Traced(program, tuple(names), tuple(marks))


def _program(model: nn.Module, inputs: Inputs, axes: DynamicAxes) -> ir.Model:
    args, kwargs = arguments(model, inputs)
    try:
        program = torch.onnx.export(
            model,
            args,
            kwargs=kwargs,
            input_names=list(inputs) if args else list(kwargs),
            dynamic_shapes=_dynamic_shapes(inputs, bool(args), axes),
            dynamo=True,
            verbose=False,
        )
    except DeployError:
        raise
    except _FAILURES as error:
        raise _failure(error) from error
    if program is None:
        raise ExportError("the exporter", expected="a program", got="nothing")
    return program.model


def _dynamic_shapes(inputs: Inputs, by_position: bool, axes: DynamicAxes) -> Any:
    spans = {span for of_input in axes.values() for span in of_input.values()}
    dims = {
        span.name: torch.export.Dim(span.name, min=span.min, max=span.max)
        for span in spans
        if span.min < span.max
    }
    if not dims:
        return None
    shapes = {
        name: {
            axis: dims[span.name] for axis, span in axes.get(name, {}).items() if span.name in dims
        }
        for name in inputs
    }
    return tuple(shapes.values()) if by_position else shapes


def _sized(inputs: Inputs, axes: DynamicAxes) -> Inputs:
    """The inputs with sizes above one, which torch would take for sizes that never change."""
    sized = dict(inputs)
    for name, of_input in axes.items():
        for axis, span in of_input.items():
            value = sized[name]
            size = min(max(2, span.opt), span.max)
            places = torch.arange(size) % value.shape[axis]
            sized[name] = value.index_select(axis, places).clone()
    return sized


def _failure(error: BaseException) -> DeployError:
    """The innermost cause, which is the one that the model's author can act on."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, DeployError):
        return error
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return ExportError(f"the model cannot be exported: {line}")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module's own flag is restored."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _flat_outputs(model: nn.Module, names: list[str]) -> Iterator[None]:
    """Make the model return a tuple of tensors, and put their names into ``names``."""

    def flatten(module: nn.Module, args: Any, result: Any) -> tuple[torch.Tensor, ...]:
        pairs = named_tensors(result, "output")
        names[:] = [name for name, _ in pairs]
        return tuple(tensor for _, tensor in pairs)

    with ExitStack() as stack:
        stack.callback(model.register_forward_pre_hook(_begin).remove)
        stack.callback(model.register_forward_hook(flatten).remove)
        yield


def _begin(module: nn.Module, args: Any) -> None:
    """Start afresh: the exporter may trace again, after it has refined the ranges of axes.

    Raises:
        ExportError: it fell back on Dynamo, which sees no marks; its first failure is the one
            that is reported.
    """
    if torch.compiler.is_dynamo_compiling():
        raise ExportError("a trace by Dynamo has no marks")
    restart()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's log and warnings; what matters comes as an exception."""
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.ERROR)
        yield


def export(
    model: nn.Module, inputs: Inputs, out: Path, axes: DynamicAxes | None = None
) -> Exported:
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
        outputs = named_tensors(model(*args, **kwargs), "output")
    return {
        name: value.detach().cpu().numpy()
        for name, value in {**before, **values, **dict(outputs)}.items()
    }


def _specs(values: Sequence[ir.Value], spans: Mapping[str, Dynamic]) -> Specs:
    return tuple(spec_of(value, spans, {}, str(value.name), ExportError) for value in values)


def _check_axes(axes: DynamicAxes, inputs: Inputs) -> None:
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


def _check_stayed_dynamic(exported: Exported, axes: DynamicAxes) -> None:
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
