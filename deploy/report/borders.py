"""What goes from step to step of a chain, and how much of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from backends.contract import Specs, TensorSpec
from deploy.report.progress import format_bytes
from deploy.runtime.bundle.manifest import HostStep, Manifest, called_steps
from deploy.runtime.execution.schedule import Step


@dataclass(frozen=True)
class Border:
    """What one step takes of another.

    Attributes:
        source: the step that makes it.
        target: the step that takes it.
        tensors: the names.
        size: bytes at the usual sizes.
        converted: those that are converted on the way, each with both dtypes.
    """

    source: str
    target: str
    tensors: tuple[str, ...]
    size: int
    converted: tuple[str, ...]


def borders(manifest: Manifest) -> list[Border]:
    """Every border of the chain, in the order of the manifest's steps.

    A segment that a host step calls has none but with that step: what goes over it in one call.
    """
    apart = called_steps(manifest)
    steps: list[Step] = [*manifest.steps, *manifest.host]
    pairs = ((source, target) for source in steps for target in steps)
    found = (
        _call(source, target)
        if {source.name, target.name} & apart
        else _border(source.name, target.name, source.outputs, target.inputs)
        for source, target in pairs
    )
    return [border for border in found if border is not None and border.tensors]


def _call(source: Step, target: Step) -> Border | None:
    """What a host step gives a segment that it calls, or takes back; nothing between others."""
    if isinstance(source, HostStep) and target.name in source.calls:
        known = {spec.name: spec.dtype for spec in source.inputs}
        given = tuple(
            replace(spec, dtype=known.get(spec.name, spec.dtype)) for spec in target.inputs
        )
        return _border(source.name, target.name, given, target.inputs)
    if isinstance(target, HostStep) and source.name in target.calls:
        return _border(source.name, target.name, source.outputs, source.outputs)
    return None


def _border(source: str, target: str, given: Specs, taken: Specs) -> Border:
    dtypes = {spec.name: spec.dtype for spec in taken}
    shared = [spec for spec in given if spec.name in dtypes]
    return Border(
        source,
        target,
        tuple(spec.name for spec in shared),
        _bytes(shared),
        tuple(
            f"{spec.name} from {spec.dtype} to {dtypes[spec.name]}"
            for spec in shared
            if spec.dtype != dtypes[spec.name]
        ),
    )


def _bytes(specs: Sequence[TensorSpec]) -> int:
    return sum(bytes_of(spec) or 0 for spec in specs)


def bytes_of(spec: TensorSpec) -> int | None:
    """The size of a tensor at its typical shape, where that is known."""
    if spec.shape is None or spec.dtype == "object":
        return None
    return prod(spec.typical) * np.dtype(spec.dtype).itemsize


def tensor_label(spec: TensorSpec) -> str:
    """Such as ``features float32[1, 256, 20, 20] 409.6 kB``."""
    size = bytes_of(spec)
    return f"{spec.name} {spec}" + (f" {format_bytes(size)}" if size is not None else "")
