"""The reference of tensors inside a segment: the whole segment in one engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from backends.acceptance import Tolerance
from backends.contract import Array, Segment, Tensors
from deploy.export.onnx_source import OnnxReference
from deploy.export.source import Reference
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


class RefinedReference:
    """A reference with the values of tensors inside its segments; see ``Reference``.

    Attributes:
        name: what computes the values, for people.
    """

    def __init__(self, whole: Reference, parts: Sequence[InnerReference]) -> None:
        self.name = whole.name
        self._whole = whole
        self._parts = parts

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """The value of every tensor of the chain, by name, for these inputs of the model."""
        return self.extended(self._whole(inputs))

    def extended(self, values: Tensors) -> dict[str, Array]:
        """These values of the whole reference, with those inside its segments."""
        inner = [part(values) for part in self._parts]
        return {name: value for of_part in (values, *inner) for name, value in of_part.items()}

    def floors(self, inputs: Tensors, values: Tensors) -> dict[str, Tolerance]:
        """See ``Reference``."""
        return self._whole.floors(inputs, values) | self.inner_floors(values)

    def inner_floors(self, values: Tensors) -> dict[str, Tolerance]:
        """The noise floor of each tensor inside the segments.

        Args:
            values: of every tensor of the chain.
        """
        floors: dict[str, Tolerance] = {}
        for part in self._parts:
            floors |= part.floors(values)
        return floors
