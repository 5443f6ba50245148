"""What a model's target may return -> a module that can be marked, run and exported."""

from __future__ import annotations

import hashlib
import inspect
import io
import sys
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn

from deploy.export.export_failures import failure_text
from deploy.recipe.schema import RecipeError

# packages of the layers that torch.ao.quantization makes
_QUANTIZED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")

_ANYHOW = inspect.Parameter.POSITIONAL_OR_KEYWORD
_BY_KEYWORD = inspect.Parameter.KEYWORD_ONLY


class WrappedModule(nn.Module):
    """Calls a module of a kind that the exporter does not take as it is.

    Attributes:
        wrapped: the module.
        torchscript: whether it is exported by way of TorchScript, in which marks leave no trace.
        digest: of its code, and of tensors that are no parameters.
    """

    def __init__(self, wrapped: nn.Module, digest: str, *, torchscript: bool) -> None:
        super().__init__()
        self.wrapped = wrapped
        self.torchscript = torchscript
        self.digest = digest

    def train(self, mode: bool = True) -> WrappedModule:
        """As of any module; a program that has no modes keeps its own."""
        self.training = mode
        if not _has_no_modes(self.wrapped):
            self.wrapped.train(mode)
        return self

    def extra_repr(self) -> str:
        """The digest, which distinguishes modules of equal structure."""
        return self.digest


def _has_no_modes(module: nn.Module) -> bool:
    """Whether ``train`` and ``eval`` are replaced by refusals, as in ``ExportedProgram.module``."""
    return "eval" in vars(module)


def plain_module(value: Any, where: str) -> nn.Module:
    """A module that can be marked and exported, in evaluation mode.

    Args:
        value: what the target returned: a module; one that ``torch.compile``, ``DataParallel``,
            ``torch.fx`` or ``torch.jit`` made of one; or an ``ExportedProgram``.
        where: the key of the target and the target, for errors.

    Raises:
        RecipeError: it is none of these, or has weights that cannot be exported.
    """
    if isinstance(value, torch.export.ExportedProgram):
        return _program_module(value)
    if not isinstance(value, nn.Module):
        raise _no_module(value, where)
    module = _unwrap(value)
    _check_weights(module, where)
    if isinstance(module, torch.jit.ScriptModule):
        script = _reloaded(module, where)
        signature, digest = _script_signature(script), _digest(str(script.inlined_graph))
        return _wrap(script, signature, digest, torchscript=True)
    quantized, scripts = _quantized_layers(module), _scripts(module)
    if quantized or scripts:
        _check_quantization(quantized, where)
        digest = _digest(*_state_texts(module), *(str(part.inlined_graph) for part in scripts))
        return _wrap(module, inspect.signature(module.forward), digest, torchscript=True)
    if isinstance(module, torch.fx.GraphModule):
        # the exporter interprets its graph and calls no hook of it
        signature = inspect.signature(module.forward)
        return _wrap(module, signature, _digest(module.code), torchscript=False)
    return module.eval()


def _unwrap(module: nn.Module) -> nn.Module:
    """The module itself, and its parts themselves, without compilation and data parallelism.

    Compiled code sees no marks, and a parallel module splits its batch.
    """
    inner = module
    while (below := _wrapped_by_torch(inner)) is not None:
        inner = below
    for child in [inner, *inner.modules()]:
        if isinstance(child, torch.jit.ScriptModule):
            continue
        vars(child).pop("_compiled_call_impl", None)  # what module.compile() leaves
        for name, part in list(child._modules.items()):
            if part is not None and _wrapped_by_torch(part) is not None:
                child._modules[name] = _unwrap(part)
    return inner


def _wrapped_by_torch(module: nn.Module) -> nn.Module | None:
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    # importing it takes a second; who has compiled a module has done so
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is not None and isinstance(module, dynamo.OptimizedModule):
        return cast(nn.Module, module._orig_mod)
    return cast(nn.Module, module.module) if isinstance(module, parallel) else None


def _wrap(
    module: nn.Module, signature: inspect.Signature, digest: str, *, torchscript: bool
) -> nn.Module:
    """The module in a wrapper whose ``forward`` has this signature, without self."""

    def forward(self: WrappedModule, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)  # by position where that is possible
        return self.wrapped(*bound.args, **bound.kwargs)

    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    forward.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[own, *signature.parameters.values()]
    )
    wrapper = type("WrappedModule", (WrappedModule,), {"forward": forward})
    wrapped: WrappedModule = wrapper(module, digest, torchscript=torchscript)
    return wrapped.eval()


def _scripts(module: nn.Module) -> list[torch.jit.ScriptModule]:
    """The parts of a module that are TorchScript, without their own parts."""
    parts = [part for part in module.children() if isinstance(part, torch.jit.ScriptModule)]
    others = [part for part in module.children() if not isinstance(part, torch.jit.ScriptModule)]
    return [*parts, *(part for other in others for part in _scripts(other))]


def _reloaded(module: torch.jit.ScriptModule, where: str) -> torch.jit.ScriptModule:
    """The module as its file would give it: one that was just frozen cannot be part of another."""
    buffer = io.BytesIO()
    try:
        torch.jit.save(module, buffer)
        buffer.seek(0)
        return cast(torch.jit.ScriptModule, torch.jit.load(buffer))  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise RecipeError(
            f"{where}: TorchScript that cannot be saved and read again: {failure_text(error)}",
            do="Return it as it was before torch.jit.optimize_for_inference.",
        ) from error


def _script_signature(module: torch.jit.ScriptModule) -> inspect.Signature:
    arguments = cast(Any, module.forward).schema.arguments[1:]  # without self
    return inspect.Signature(
        [
            inspect.Parameter(
                argument.name,
                _ANYHOW,
                default=argument.default_value
                if argument.has_default_value()
                else inspect.Parameter.empty,
            )
            for argument in arguments
        ]
    )


def _program_module(program: torch.export.ExportedProgram) -> nn.Module:
    """The program with the hierarchy of its modules, so that they can be marked by their paths."""
    positional, keywords = program.call_spec.in_spec.children()
    names = program.module_call_graph[0].signature.forward_arg_names or [
        *(f"input_{number}" for number in range(positional.num_children)),
        *keywords.context,
    ]
    parameters = [
        inspect.Parameter(name, _ANYHOW if number < positional.num_children else _BY_KEYWORD)
        for number, name in enumerate(names)
    ]
    digest = _digest(str(program.graph))
    module = torch.export.unflatten(program)
    return _wrap(module, inspect.Signature(parameters), digest, torchscript=False)


def _check_weights(module: nn.Module, where: str) -> None:
    """Refuse tensors whose values or layout the exporter cannot write."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_meta:
            raise RecipeError(
                f"{where}: weight '{name}'",
                expected="values",
                got="none: it is on the meta device",
                do="Let the target load or initialise its weights.",
            )
        if tensor.layout is not torch.strided:
            raise RecipeError(
                f"{where}: weight '{name}'",
                expected="a dense tensor",
                got=str(tensor.layout),
                do="Let the target call to_dense() on it.",
            )


def _quantized_layers(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [
        (path, layer)
        for path, layer in module.named_modules()
        if type(layer).__module__.startswith(_QUANTIZED)
    ]


def _check_quantization(layers: list[tuple[str, nn.Module]], where: str) -> None:
    for path, layer in layers:
        if ".dynamic" in type(layer).__module__:
            raise RecipeError(
                f"{where}: layer '{path}'",
                expected="a layer with an ONNX form",
                got=f"{type(layer).__name__}, quantized while it runs (quantize_dynamic)",
                do="Return the model as it was before quantize_dynamic, or quantize it statically "
                "(torch.ao.quantization.prepare and convert).",
            )


def _state_texts(module: nn.Module) -> Iterator[str]:
    """Everything in a state dict, also the packed weights of quantized layers."""
    for key, value in module.state_dict().items():
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, torch.Tensor):
                dense = item.detach().dequantize() if item.is_quantized else item.detach()
                item = dense.cpu().contiguous().numpy().tobytes().hex()
            yield f"{key} {item}"


def _digest(*texts: str) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode())
    return digest.hexdigest()


def _no_module(value: Any, where: str) -> RecipeError:
    do = "Name a class or function that returns the model."
    if isinstance(value, dict) and any(isinstance(v, torch.Tensor) for v in value.values()):
        do = (
            "These are weights alone: name the model's class as model.target, and pass the file as "
            "model.weights."
        )
    elif callable(value):
        do = "Return an nn.Module whose forward calls it."
    return RecipeError(where, expected="a torch.nn.Module", got=type(value).__name__, do=do)
