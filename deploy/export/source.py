"""Where a whole model comes from: PyTorch code, or an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from backends.contract import Array, Tensors
from deploy.export.onnx_source import OnnxSource
from deploy.export.torch_source import TorchSource
from deploy.graph.exported import Exported
from deploy.recipe.schema import Recipe


class Reference(Protocol):
    """Chain inputs -> the whole model's value of every tensor of the chain.

    Attributes:
        name: what gives these values, for people.
    """

    name: str

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """The chain's tensors for these model inputs."""
        ...


class Source(Protocol):
    """A whole model."""

    def identity(self) -> dict[str, Any] | None:
        """All that decides what ``export`` gives for some inputs; nothing where it does nothing."""
        ...

    def export(self, inputs: Tensors, out: Path) -> Exported:
        """The model as an ONNX file, in the folder ``out`` if it is not one already.

        Args:
            inputs: a sample of each input.
            out: a folder.
        """
        ...

    def reference(self, points: Mapping[str, str], out: Path) -> Reference:
        """What a chain is compared with.

        Args:
            points: each tensor of the chain, and its point.
            out: a folder for what the reference needs.
        """
        ...


def source_of(recipe: Recipe) -> Source:
    """The model of a checked recipe, built or read.

    Raises:
        DeployError: it cannot be built or read.
    """
    if recipe.model.file is not None:
        return OnnxSource(recipe.model)
    return TorchSource(recipe.model, used_backends(recipe))


def used_backends(recipe: Recipe) -> frozenset[str]:
    """The backends that this recipe may convert a segment for."""
    return frozenset(one.name for one in recipe.backends)
