"""A forward, traced once: its graph, the names of its results and its marks."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch
from torch import nn

from backends.contract import DeployError, Dynamic
from deploy.marking import exporting, restart
from deploy.nested import named
from deploy.points import MarkedTensor

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


def trace(model: nn.Module, inputs: Inputs, dynamic: Mapping[str, Dynamic]) -> Traced:
    """Trace a model in evaluation mode, quietly.

    Raises:
        ExportError: the inputs do not fit, ``forward`` cannot be traced, or an operator has no
            ONNX form.
        MarkError: a mark does not fit its function.
    """
    names: list[str] = []
    with evaluating(model), _flat_outputs(model, names), _quiet(), exporting() as marks:
        program = _program(model, _sized(inputs, dynamic), dynamic)
    return Traced(program, tuple(names), tuple(marks))


def _program(model: nn.Module, inputs: Inputs, dynamic: Mapping[str, Dynamic]) -> ir.Model:
    args, kwargs = arguments(model, inputs)
    try:
        program = torch.onnx.export(
            model,
            args,
            kwargs=kwargs,
            input_names=list(inputs) if args else list(kwargs),
            dynamic_shapes=_axes(args, kwargs, dynamic),
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


def _axes(args: Sequence[object], kwargs: Iterable[str], dynamic: Mapping[str, Dynamic]) -> Any:
    ranges = [span for span in dynamic.values() if span.min < span.max]
    if not ranges:
        return None
    dims = [torch.export.Dim(span.name, min=span.min, max=span.max) for span in ranges]
    batch = {0: dims[0]}
    return dict.fromkeys(kwargs, batch) or tuple(batch for _ in args)


def _sized(inputs: Inputs, dynamic: Mapping[str, Dynamic]) -> Inputs:
    """The inputs at a batch above one, which torch would take for a size that never changes."""
    for span in dynamic.values():
        size = min(max(2, span.opt), span.max)
        return {
            name: value[torch.arange(size) % len(value)].clone() for name, value in inputs.items()
        }
    return inputs


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
        pairs = named(result, "output")
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
