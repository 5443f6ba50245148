"""The sources of a model, PyTorch code or an ONNX file, and the reference that each provides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from backends.acceptance import Tolerance
from backends.contract import Array, Tensors
from deploy.export.onnx_files import OnnxFiles
from deploy.export.onnx_source import OnnxSource
from deploy.export.torch_source import TorchSource
from deploy.graph.exported import Exported
from deploy.recipe.schema import ModelRecipe, Recipe


class Reference(Protocol):
    """The uncut model, whose values a chain is compared with.

    Attributes:
        name: what computes the values, for people, such as ``PyTorch``.
    """

    name: str

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """The value of every tensor of the chain, by name, for these inputs of the model."""
        ...

    def floors(self, inputs: Tensors, values: Tensors) -> dict[str, Tolerance]:
        """The noise floor of each tensor: its error against the model computed otherwise.

        Args:
            inputs: of the model.
            values: the reference's value of every tensor for them.
        """
        ...


class Source(Protocol):
    """A model that can be exported to one ONNX graph."""

    @property
    def recipe(self) -> ModelRecipe:
        """The model's recipe with all inputs of the graph, the tensors of a state among them."""
        ...

    def initial_state(self) -> dict[str, Array]:
        """The first value of each tensor that is carried between calls, by the input's name."""
        ...

    def with_state(self, inputs: Tensors) -> dict[str, Array]:
        """Sample inputs with a value of the state, as it is in the middle of a series of calls."""
        ...

    def identity(self) -> dict[str, Any] | None:
        """Everything beside the inputs that determines the result of ``export``, as JSON values.

        Used as a cache key; None where an export is not worth caching.
        """
        ...

    def export(self, inputs: Tensors, out: Path) -> Exported:
        """The model as an ONNX graph.

        Args:
            inputs: a sample of each input, by name.
            out: the folder for the ONNX file, if the source is not an ONNX file itself.
        """
        ...

    def reference(self, points: Mapping[str, str], out: Path) -> Reference:
        """The reference for a chain.

        Args:
            points: the point of each tensor of the chain, by the tensor's name.
            out: the folder for the reference's own files.
        """
        ...


def source_of(recipe: Recipe) -> Source:
    """The source that a validated recipe names, with its model built or its file read.

    Raises:
        DeployError: the model cannot be built, or the file cannot be read.
    """
    if recipe.model.files:
        return OnnxFiles(recipe)
    if recipe.model.file is not None:
        return OnnxSource(recipe.model)
    return TorchSource(recipe.model, {backend.name for backend in recipe.backends})
