"""What goes from step to step of a chain, and how much of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from backends.contract import TensorSpec
from deploy.runtime.manifest import Manifest
from deploy.runtime.order import Step


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
    """Every border of the chain, in the order of the manifest's steps."""
    steps: list[Step] = [*manifest.steps, *manifest.host]
    pairs = ((source, target) for source in steps for target in steps)
    found = (_border(source, target) for source, target in pairs)
    return [border for border in found if border.tensors]


def _border(source: Step, target: Step) -> Border:
    taken = {spec.name: spec for spec in target.inputs}
    shared = [spec for spec in source.outputs if spec.name in taken]
    return Border(
        source.name,
        target.name,
        tuple(spec.name for spec in shared),
        _bytes(shared),
        tuple(
            f"{spec.name} from {spec.dtype} to {taken[spec.name].dtype}"
            for spec in shared
            if spec.dtype != taken[spec.name].dtype
        ),
    )


def _bytes(specs: Sequence[TensorSpec]) -> int:
    return sum(
        prod(spec.typical) * np.dtype(spec.dtype).itemsize
        for spec in specs
        if spec.shape is not None
    )
