"""The reference of several files: each in one engine, with the host steps of the recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from backends.acceptance import Tolerance
from backends.contract import (
    Array,
    ConversionError,
    EngineError,
    Runner,
    Segment,
    Specs,
    Tensors,
)
from backends.registry import about, loader
from deploy.convert import convert_here
from deploy.export.noise_floor import noise_floors
from deploy.recipe.schema import BackendRecipe
from deploy.runtime.bundle.manifest import HostStep
from deploy.runtime.execution.chain import Chain
from deploy.runtime.execution.host_steps import HostRunner, SegmentCall, make_host_function
from deploy.runtime.execution.schedule import schedule


class ReferenceChain:
    """Runs files unconverted and records the value of every tensor; see ``Reference``.

    Of a segment that a host step calls several times, the values are those of its first call.

    Attributes:
        name: what computes the values, for people.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        host: Sequence[HostStep],
        inputs: Specs,
        backend: BackendRecipe,
        out: Path,
        points: Mapping[str, str],
    ) -> None:
        """Build an engine for each segment.

        Args:
            segments: of the files.
            host: the host steps between them.
            inputs: of the chain.
            backend: runs the segments.
            out: the folder for the engines.
            points: the name here of each tensor of the chain that is asked for, by its name there.

        Raises:
            ConversionError: the backend cannot run a file.
        """
        self.name = f"each file in {backend.name}"
        self._points = points
        self._parts = segments, host, inputs
        self._backend, self._out = backend, out
        self._values: dict[str, Array] = {}
        called = {name for step in host for name in step.calls}
        artifacts = [convert_here(item, backend, out / f"{item.name}.engine") for item in segments]
        runners: dict[str, Runner] = {
            item.name: self._recorded(loader(item.backend)(item, out / f"{item.name}.engine"))
            for item in artifacts
        }
        calls = {item.name: SegmentCall(item, runners[item.name]) for item in artifacts}
        for step in host:
            function = make_host_function(step, {name: calls[name] for name in step.calls})
            runners[step.name] = self._recorded(HostRunner(step, function))
        engines = [item for item in artifacts if item.name not in called]
        order = schedule([*engines, *host], inputs, ())
        self._chain = Chain([(step, runners[step.name]) for step in order], inputs, ())

    def floors(self, inputs: Tensors, values: Tensors) -> dict[str, Tolerance]:
        """See ``Reference``; the engine computes the files with options for another rounding."""
        other = about(self._backend.name).other_rounding
        if not other:
            return {}
        backend = replace(self._backend, options={**self._backend.options, **other})
        try:
            chain = ReferenceChain(
                *self._parts, backend, self._out / "other_rounding", self._points
            )
            return noise_floors(values, chain(inputs))
        except (ConversionError, EngineError):
            return {}  # such as fused operators of its own, which it does not run without fusions

    def _recorded(self, runner: Runner) -> Runner:
        return _Recorder(runner, self._values)

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """The value of every tensor of the chain, by name, for these inputs of the chain."""
        self._values.clear()
        self._chain(inputs)
        values = {**self._values, **inputs}
        return {name: values[point] for name, point in self._points.items() if point in values}


@dataclass
class _Recorder:
    """A runner that keeps its tensors of the first call."""

    runner: Runner
    values: dict[str, Array] = field(repr=False)

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        outputs = self.runner(inputs)
        for name, value in {**inputs, **outputs}.items():
            self.values.setdefault(name, value)
        return dict(outputs)

    def __enter__(self) -> Self:
        self.runner.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.runner.__exit__(*error)
