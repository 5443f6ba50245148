"""Parts of a segment, converted as the whole was, against the same parts in the reference."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backends.child import Allowance, conversion, convert_in_child
from backends.contract import (
    Array,
    Artifact,
    Dynamic,
    EngineError,
    Segment,
    Tensors,
)
from backends.gap import Gap, measure_all, worst
from backends.registry import loader
from deploy.blaming.ends import sized, widened
from deploy.blaming.replay import in_dtype
from deploy.engine import start
from deploy.exported import Exported
from deploy.partition import Cut, partition, probe
from deploy.recipe import BackendRecipe
from deploy.samples import write_sample


@dataclass(frozen=True)
class Part:
    """A part of a segment between some of its tensors."""

    starts: tuple[str, ...]
    ends: tuple[str, ...]


@dataclass(frozen=True)
class Halves:
    """A segment, and what its parts are run with.

    Attributes:
        step: the segment as it was converted: its backend, options and precision.
        original: its graph in fp32.
        converted: its graph as it was converted.
        inputs: the reference's own inputs of it.
        engine: what runs the original.
        timeout: seconds for one conversion.
    """

    step: Artifact
    original: Exported
    converted: Exported
    inputs: Tensors
    engine: BackendRecipe
    timeout: float

    def expected(self, tensors: Sequence[str]) -> dict[str, Array]:
        """The reference's value of some tensors of the segment.

        Raises:
            ConversionError: the reference's engine cannot run the segment.
            EngineError: likewise.
        """
        inside = [name for name in tensors if name not in self.inputs]
        found = {name: self.inputs[name] for name in tensors if name in self.inputs}
        if not inside:
            return found
        with tempfile.TemporaryDirectory() as folder:
            segment = probe(self.original, inside, Path(folder))
            engine = Path(folder) / "engine"
            engine.mkdir()
            with start(segment, self.engine, engine) as runner:
                outputs = runner(in_dtype(segment.inputs, self.inputs))
        return found | {name: outputs[name] for name in inside}

    def cut(self, part: Part, values: Tensors, folder: Path) -> Segment:
        """A part of the converted graph as a segment of its own.

        Args:
            part: between which tensors.
            values: of all of them.
            folder: that gets its file.

        Raises:
            PartitionError: the graph cannot be cut there.
        """
        cut = Cut(self.step.name, list(part.starts), list(part.ends))
        (segment,) = partition(self.converted, [cut], folder).segments
        fixed = not any(isinstance(dim, Dynamic) for spec in self.step.inputs for dim in spec.dims)
        return widened(sized(segment, values) if fixed else segment)

    def gap(self, segment: Segment, values: Tensors, expected: Tensors) -> tuple[Gap, str]:
        """How far a part is off when its backend runs it, and what it said if it failed.

        Args:
            segment: the part.
            values: of its inputs.
            expected: the reference's value of what it ends with.

        Raises:
            ConversionError: the backend cannot convert it.
        """
        step = self.step
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "artifact"
            allowed = Allowance(self.timeout)
            artifact = convert_in_child(
                segment, step.backend, step.options, step.precision, None, out, allowed
            )
            try:
                with loader(artifact.backend)(artifact, out) as runner:
                    found = runner(in_dtype(segment.inputs, values))
            except EngineError as error:  # such as a net that gives another shape than it should
                return worst(measure_all(expected, {})), str(error)
        named = dict(zip(expected, (found[spec.name] for spec in segment.outputs), strict=True))
        return worst(measure_all(expected, named)), ""

    def keep(self, segment: Segment, values: Tensors, expected: Tensors) -> str:
        """Write the sample of a part beside it; returns the command that converts and checks it."""
        sample = segment.onnx.with_suffix(".sample.npz")
        ends = dict(zip((spec.name for spec in segment.outputs), expected.values(), strict=True))
        with np.errstate(over="ignore"):
            write_sample(sample, segment.inputs, segment.outputs, {**values, **ends})
        step, out = self.step, segment.onnx.with_suffix("")
        words = conversion(segment, step.backend, step.options, step.precision, sample, out)
        return shlex.join(["python", *words[1:]])
