"""The noise floor of a reference: how far its values are from the same model computed otherwise."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from backends.acceptance import Tolerance
from backends.contract import Array, DeployError, Tensors
from backends.error_metrics import compare

_MOST_BYTES = 2 << 30  # of tensors of a model that is copied in float64
_FAULTS = (  # what code raises that expects another dtype
    RuntimeError,
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    DeployError,
)
Values = Callable[[nn.Module, Mapping[str, torch.Tensor]], dict[str, Array]]


def noise_floors(values: Tensors, others: Tensors) -> dict[str, Tolerance]:
    """The error of each floating-point tensor; of others there is no noise.

    A tensor that the other computation does not have in the same shape, or not with finite values,
    has no floor.

    Args:
        values: of the reference.
        others: of the same model, computed in another order or precision.
    """
    errors = {
        name: compare(name, others[name].astype(value.dtype), value)
        for name, value in values.items()
        if value.dtype.kind == "f" and name in others
    }
    return {
        name: Tolerance(error.max_rel, error.cosine)
        for name, error in errors.items()
        if np.isfinite(error.max_rel)
    }


def torch_values_otherwise(
    model: nn.Module, inputs: Mapping[str, torch.Tensor], run: Values
) -> dict[str, Array]:
    """The values of a model in float64, or where that fails in fp32 with other kernels.

    Args:
        model: in fp32; it is not changed.
        inputs: by name.
        run: runs a module on inputs, and returns the values of its tensors by name.

    Returns:
        The values.
    """
    try:
        if _bytes(model) <= _MOST_BYTES:
            doubled = {name: _double(value) for name, value in inputs.items()}
            return run(copy.deepcopy(model).double(), doubled)
    except _FAULTS:
        pass  # of the model's own code, which may name a dtype; or an operator without float64
    with _other_kernels():
        return run(model, inputs)


@contextmanager
def _other_kernels() -> Iterator[None]:
    """PyTorch's own kernels in the place of oneDNN's, in one thread: another order of sums."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
            yield
    finally:
        torch.set_num_threads(threads)


def _bytes(model: nn.Module) -> int:
    tensors = (*model.parameters(), *model.buffers())
    return sum(2 * tensor.numel() * tensor.element_size() for tensor in tensors)


def _double(value: torch.Tensor) -> torch.Tensor:
    return value.double() if value.is_floating_point() else value
