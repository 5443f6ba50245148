"""Export by way of TorchScript: for modules that ``torch.export`` cannot trace."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import onnx
import onnx_ir as ir
import torch

from deploy.export.module_kinds import WrappedModule
from deploy.recipe.dynamic_shapes import DynamicAxes


def export_torchscript(
    model: WrappedModule,
    args: tuple[torch.Tensor, ...],
    kwargs: Mapping[str, torch.Tensor],
    names: Sequence[str],
    axes: DynamicAxes,
) -> ir.Model:
    """The ONNX model of a wrapped TorchScript or quantized module.

    Control flow in TorchScript stays control flow.

    Args:
        model: returns a flat tuple of tensors.
        args: its positional arguments.
        kwargs: its keyword arguments, in the order of its parameters.
        names: of the graph's inputs, in that order.
        axes: the dynamic axes by the names of the inputs.
    """
    call = _PositionalCall(model, tuple(kwargs))
    values = (*args, *kwargs.values())
    traced = torch.jit.trace(call, values, check_trace=False)  # type: ignore[no-untyped-call]
    file = io.BytesIO()
    torch.onnx.export(
        traced,
        values,
        file,  # type: ignore[arg-type] # which the exporter through TorchScript does take
        dynamo=False,
        input_names=list(names),
        dynamic_axes={
            name: {axis: size.name for axis, size in sizes.items() if size.min < size.max}
            for name, sizes in axes.items()
        },
    )
    return ir.from_proto(onnx.load_model_from_string(file.getvalue()))


class _PositionalCall(torch.nn.Module):
    """Calls a module with its arguments in order, since a trace knows no keywords."""

    def __init__(self, module: torch.nn.Module, keywords: tuple[str, ...]) -> None:
        super().__init__()
        self.module = module
        self._keywords = keywords

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        if self._keywords:
            return self.module(**dict(zip(self._keywords, values, strict=True)))  # type: ignore[no-any-return]
        return self.module(*values)  # type: ignore[no-any-return]
