"""The PyTorch model as the reference: NumPy in, the value of every tensor of the chain out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from backends.contract import Array, Tensors
from deploy.export import reference


@dataclass(frozen=True)
class Reference:
    """The eager model, seen through a partition.

    Attributes:
        model: the module.
        points: chain tensor to the point, graph input or graph output that it is.
    """

    model: nn.Module
    points: Mapping[str, str]

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """The chain's tensors for these model inputs."""
        values = reference(self.model, as_torch(inputs))
        return {tensor: values[point] for tensor, point in self.points.items()}


def as_torch(inputs: Tensors) -> dict[str, torch.Tensor]:
    """The arrays as tensors."""
    return {name: torch.from_numpy(value) for name, value in inputs.items()}
