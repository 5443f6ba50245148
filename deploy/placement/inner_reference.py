"""The reference of tensors inside a segment: the whole segment in one engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from backends.acceptance import Tolerance
from backends.contract import Array, Segment, Tensors
from deploy.export.onnx_source import OnnxReference
from deploy.placement.read_graph import whole_file
from deploy.recipe.schema import BackendRecipe


class InnerReference:
    """Computes tensors inside a segment from the reference's values of the segment's inputs."""

    def __init__(
        self, segment: Segment, names: Mapping[str, str], engine: BackendRecipe, out: Path
    ) -> None:
        """Build the engine.

        Args:
            segment: that was divided.
            names: the name in the segment of each tensor, by its name in the chain.
            engine: runs the segment.
            out: a new folder for its files.

        Raises:
            ConversionError: the engine cannot run the segment.
            EngineError: it does not load it.
        """
        self._inputs = [spec.name for spec in segment.inputs]
        self._names = tuple(names)
        self._reference = OnnxReference(whole_file(segment), names, engine, out)

    def __call__(self, values: Tensors) -> dict[str, Array]:
        """The values of the tensors, by their names in the chain."""
        return self._reference(self._taken(values))

    def floors(self, values: Tensors) -> dict[str, Tolerance]:
        """The noise floor of each tensor; see ``Reference``.

        Args:
            values: of the segment's inputs, and of the tensors.
        """
        inner = {name: values[name] for name in self._names}
        return self._reference.floors(self._taken(values), inner)

    def _taken(self, values: Tensors) -> dict[str, Array]:
        return {name: values[name] for name in self._inputs}


def with_inner_values(values: Tensors, parts: Sequence[InnerReference]) -> dict[str, Array]:
    """The reference's values of a chain, with those of the tensors inside its segments."""
    inner = [part(values) for part in parts]
    return {name: value for of_part in (values, *inner) for name, value in of_part.items()}
