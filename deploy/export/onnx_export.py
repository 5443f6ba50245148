"""Export of a ``torch.nn.Module`` to ONNX with its marks, and the eager model's values."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import nn

from backends.contract import Array, DeployError, Dynamic, Specs
from deploy.export.dynamic_dims import dynamic_dims, name_multiples, sample_size
from deploy.export.export_failures import FAILURES, ExportError, export_failure, run_failure
from deploy.export.graph_outputs import name_graph_outputs, named_outputs
from deploy.export.mark_session import capture, exporting, restart
from deploy.export.module_kinds import WrappedModule
from deploy.export.torchscript_export import export_torchscript
from deploy.graph.exported import Exported
from deploy.graph.nodes import MARK_DOMAIN, mark_function
from deploy.graph.points import MarkedTensor
from deploy.graph.specs import spec_of
from deploy.recipe.dynamic_shapes import DynamicAxes

Inputs = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class _TracedModel:
    """The exporter's result.

    Attributes:
        model: the ONNX model.
        inputs: the name of each graph input.
        outputs: the name of each graph output.
        marks: the marked tensors in the graph.
    """

    model: ir.Model
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    marks: tuple[MarkedTensor, ...]


def _call_arguments(
    model: nn.Module, inputs: Inputs
) -> tuple[tuple[torch.Tensor, ...], dict[str, Any]]:
    """The inputs as positional and keyword arguments of ``forward``.

    They are keyword arguments in the order of the parameters if all names are parameters, and
    positional arguments if none is.

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


def _trace(model: nn.Module, inputs: Inputs, axes: DynamicAxes) -> _TracedModel:
    """Trace a model in evaluation mode, with the exporter's log silenced.

    Raises:
        ExportError: the inputs do not fit, ``forward`` cannot be traced, or an operator has no
            ONNX form.
        MarkError: a mark does not fit its function.
    """
    names: list[str] = []
    with (
        _evaluation_mode(model),
        _flat_outputs(model, inputs, names),
        _silenced(),
        exporting() as marks,
    ):
        program = _export_program(model, _resize_dynamic_axes(inputs, axes), axes)
    _, kwargs = _call_arguments(model, inputs)
    return _TracedModel(program, tuple(kwargs or inputs), tuple(names), tuple(marks))


def _export_program(model: nn.Module, inputs: Inputs, axes: DynamicAxes) -> ir.Model:
    args, kwargs = _call_arguments(model, inputs)
    names = list(inputs) if args else list(kwargs)
    try:
        if isinstance(model, WrappedModule) and model.torchscript:
            return export_torchscript(model, args, kwargs, names, axes)
        program = torch.onnx.export(
            model,
            args,
            kwargs=kwargs,
            input_names=names,
            dynamic_shapes=_dynamic_shapes(inputs, bool(args), axes),
            dynamo=True,
            verbose=False,
        )
    except DeployError:
        raise
    except FAILURES as error:
        raise export_failure(error, model, inputs) from error
    if program is None:
        raise ExportError("the exporter", expected="a program", got="nothing")
    name_multiples(program, axes)
    return program.model


def _dynamic_shapes(inputs: Inputs, by_position: bool, axes: DynamicAxes) -> Any:
    dims = dynamic_dims(axes)
    if not dims:
        return None
    shapes = {
        name: {
            axis: dims[size.name] for axis, size in axes.get(name, {}).items() if size.name in dims
        }
        for name in inputs
    }
    return tuple(shapes.values()) if by_position else shapes


def _resize_dynamic_axes(inputs: Inputs, axes: DynamicAxes) -> Inputs:
    """The inputs with dynamic sizes of at least 2, since torch specialises on sizes 0 and 1."""
    resized = dict(inputs)
    for name, input_axes in axes.items():
        for axis, size in input_axes.items():
            value = resized[name]
            indices = torch.arange(sample_size(size)) % value.shape[axis]
            resized[name] = value.index_select(axis, indices).clone()
    return resized


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; restores each module's own training flag."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _flat_outputs(model: nn.Module, inputs: Collection[str], names: list[str]) -> Iterator[None]:
    """Make the model return a flat tuple of tensors, and write their names to ``names``."""

    def flatten(module: nn.Module, args: Any, result: Any) -> tuple[torch.Tensor, ...]:
        tensors = named_outputs(result, inputs)
        names[:] = [name for name, _ in tensors]
        return tuple(tensor for _, tensor in tensors)

    with ExitStack() as stack:
        stack.callback(model.register_forward_pre_hook(_restart_marks, prepend=True).remove)
        stack.callback(model.register_forward_hook(flatten).remove)
        yield


def _restart_marks(module: nn.Module, args: Any) -> None:
    """Reset the mark session: the exporter traces again after it has refined dynamic ranges.

    Raises:
        ExportError: the exporter fell back on Dynamo, which sees no marks. It then reports its
            first failure.
    """
    if torch.compiler.is_dynamo_compiling():
        raise ExportError("a trace by Dynamo has no marks")
    restart()


@contextmanager
def _silenced() -> Iterator[None]:
    """Silence the exporter's log and warnings; failures are exceptions."""
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
        model: the module; its training flags are restored.
        inputs: a sample of each input by name. The names are parameters of ``forward``, or, when
            none is, names for its positional arguments in order.
        out: the folder for ``exported.onnx`` and ``exported.onnx.data``.
        axes: the dynamic axes of each input, with their ranges; all other sizes are fixed. Axes
            with ranges of one name have equal sizes.

    Returns:
        The exported graph. Its outputs are named by their keys or fields; else ``output``, or
        ``output.0`` and so on.

    Raises:
        ExportError: the inputs do not fit ``forward``, ``forward`` cannot be traced, an operator
            has no ONNX form, or an axis does not stay dynamic.
        MarkError: a mark does not fit its function.
    """
    dynamic = axes or {}
    _check_axes(dynamic, inputs)
    traced = _trace(model, inputs, dynamic)
    graph = traced.model.graph
    name_graph_outputs(traced.model, traced.inputs, traced.outputs)
    ranges = {size.name: size for input_axes in dynamic.values() for size in input_axes.values()}
    exported = Exported(
        out / "exported.onnx",
        _specs(graph.inputs, ranges),
        _specs(graph.outputs, ranges),
        traced.marks,
    )
    _check_stayed_dynamic(exported, dynamic)
    _save(traced.model, exported.onnx)
    return exported


def eager_outputs(model: nn.Module, inputs: Inputs) -> dict[str, torch.Tensor]:
    """A copy of each output of the eager model in evaluation mode, by its name.

    Args:
        model: the module; its training flags are restored.
        inputs: see ``export``; they stay as they are.

    Raises:
        ExportError: ``forward`` fails with these inputs.
        OutputError: its result cannot become outputs of a graph.
    """
    with _evaluation_mode(model):
        outputs = _run(model, inputs)
    return {name: value.detach().clone() for name, value in outputs}


def _run(model: nn.Module, inputs: Inputs) -> list[tuple[str, torch.Tensor]]:
    copies = {name: value.clone() for name, value in inputs.items()}  # forward may change them
    args, kwargs = _call_arguments(model, copies)
    try:
        result = model(*args, **kwargs)
    except DeployError:
        raise
    except FAILURES as error:
        raise run_failure(error, model, inputs) from error
    return named_outputs(result, inputs)


def reference_values(model: nn.Module, inputs: Inputs) -> dict[str, Array]:
    """The eager model's value of every point, by its name, and of every input and output.

    Args:
        model: the module, run in evaluation mode; its training flags are restored.
        inputs: see ``export``.

    Raises:
        ExportError: the inputs do not fit ``forward``, or it fails on them.
        MarkError: a mark does not fit its function.
    """
    with _evaluation_mode(model), capture() as values:
        outputs = _run(model, inputs)
    return {name: _to_array(value) for name, value in {**inputs, **values, **dict(outputs)}.items()}


def _to_array(tensor: torch.Tensor) -> Array:
    """The values in NumPy's own dtypes: bfloat16, which it lacks, as float32."""
    value = tensor.detach().cpu()
    array: Array = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return array


def _specs(values: Sequence[ir.Value], ranges: Mapping[str, Dynamic]) -> Specs:
    return tuple(spec_of(value, ranges, {}, str(value.name), ExportError) for value in values)


def _check_axes(axes: DynamicAxes, inputs: Inputs) -> None:
    for name, input_axes in axes.items():
        rank = inputs[name].dim()
        for axis, size in input_axes.items():
            if axis >= rank:
                raise ExportError(
                    f"input '{name}'",
                    expected=f"an axis {axis} for '{size.name}'",
                    got="a scalar" if rank == 0 else f"{rank} axes",
                )


def _check_stayed_dynamic(exported: Exported, axes: DynamicAxes) -> None:
    for spec in exported.inputs:
        for axis, size in axes.get(spec.name, {}).items():
            if size.min < size.max and spec.dims[axis] != size:
                raise ExportError(
                    f"axis '{size.name}' of input '{spec.name}'",
                    expected=f"{size.min} to {size.max}",
                    got=f"fixed at {spec.dims[axis]} by the exporter",
                    do="Look for a size that forward takes from a constant or turns into an int.",
                )


def _save(model: ir.Model, path: Path) -> None:
    model.graph.opset_imports.setdefault(MARK_DOMAIN, 1)
    function = mark_function(model.graph.opset_imports[""])
    model.functions[function.identifier()] = function
    path.parent.mkdir(parents=True, exist_ok=True)
    ir.save(model, path, external_data=f"{path.name}.data")
