"""Host steps inside a forward: run by a plain call, and places without code in an export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deploy.runtime.execution.host_steps import HostFunction


class Rows(NamedTuple):
    """What a host step gives one of in each row: sizes behind the number of rows, and dtype."""

    sizes: tuple[int, ...]
    dtype: torch.dtype = torch.float32


def exporting() -> bool:
    """Whether a graph is being traced, whose engines do not run what is on the host."""
    return torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export()


def on_host(
    step: HostFunction, inputs: Mapping[str, Tensor], outputs: Mapping[str, Rows]
) -> dict[str, Tensor]:
    """Run a host step; while exporting, leave a node that nobody can run in its place.

    Args:
        step: the step; it cannot be differentiated.
        inputs: what it takes, by name.
        outputs: what it gives, by name; all of one number of rows, that is not known beforehand.
    """
    if exporting():
        return _placeholders(type(step).__name__, list(inputs.values()), outputs)
    device = next(iter(inputs.values())).device
    found = step({name: value.detach().cpu().numpy() for name, value in inputs.items()})
    return {
        name: torch.from_numpy(np.ascontiguousarray(found[name])).to(device) for name in outputs
    }


def _placeholders(
    step: str, inputs: list[Tensor], outputs: Mapping[str, Rows]
) -> dict[str, Tensor]:
    rows = _node(step, "rows", inputs, torch.int64, ()).item()
    torch._check(rows >= 1)  # type: ignore[no-untyped-call]
    return {
        name: _node(step, name, inputs, kind.dtype, (rows, *kind.sizes))  # type: ignore[arg-type]
        for name, kind in outputs.items()
    }


def _node(
    step: str, output: str, inputs: list[Tensor], dtype: torch.dtype, shape: tuple[int, ...]
) -> Tensor:
    """``deploy::HostStep``, with the names that tell equal nodes apart."""
    return torch.onnx.ops.symbolic(
        "deploy::HostStep",
        inputs,
        attrs={"step": step, "output": output},
        dtype=dtype,
        shape=shape,
        version=1,
    )
