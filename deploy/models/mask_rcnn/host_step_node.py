"""Host steps inside a forward: run in eager mode, placeholder nodes in an exported graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deploy.runtime.execution.host_steps import HostFunction


class RowSpec(NamedTuple):
    """An output of a host step with a variable number of rows.

    Attributes:
        sizes: the sizes behind the number of rows.
        dtype: the dtype.
    """

    sizes: tuple[int, ...]
    dtype: torch.dtype = torch.float32


def is_exporting() -> bool:
    """Whether a graph is being traced for an export."""
    return torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export()


def run_on_host(
    step: HostFunction, inputs: Mapping[str, Tensor], outputs: Mapping[str, RowSpec]
) -> dict[str, Tensor]:
    """Run a host step; while exporting, leave ``deploy::HostStep`` nodes in its place.

    No engine can run such a node: a recipe cuts the graph before and behind it.

    Args:
        step: the host step; gradients do not pass through it.
        inputs: its inputs by name.
        outputs: its outputs by name; all have one number of rows, which depends on the data.

    Returns:
        The outputs by name, on the device of the first input.
    """
    if is_exporting():
        return _placeholders(type(step).__name__, list(inputs.values()), outputs)
    device = next(iter(inputs.values())).device
    results = step({name: value.detach().cpu().numpy() for name, value in inputs.items()})
    return {
        name: torch.from_numpy(np.ascontiguousarray(results[name])).to(device) for name in outputs
    }


def _placeholders(
    step: str, inputs: list[Tensor], outputs: Mapping[str, RowSpec]
) -> dict[str, Tensor]:
    rows = _node(step, "rows", inputs, torch.int64, ()).item()
    torch._check(rows >= 1)  # type: ignore[no-untyped-call]
    return {
        name: _node(step, name, inputs, spec.dtype, (rows, *spec.sizes))  # type: ignore[arg-type]
        for name, spec in outputs.items()
    }


def _node(
    step: str, output: str, inputs: list[Tensor], dtype: torch.dtype, shape: tuple[int, ...]
) -> Tensor:
    """A ``deploy::HostStep`` node; its attributes keep the exporter from merging equal nodes."""
    return torch.onnx.ops.symbolic(
        "deploy::HostStep",
        inputs,
        attrs={"step": step, "output": output},
        dtype=dtype,
        shape=shape,
        version=1,
    )
