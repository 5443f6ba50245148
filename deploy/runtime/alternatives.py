"""How far the engines that a bundle carries beside its own are from the whole model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from backends.contract import Tensors
from deploy.runtime.gaps import label, step_gaps
from deploy.runtime.manifest import Manifest, StepGap
from deploy.runtime.opening import load


def alternative_gaps(bundle: Path, manifest: Manifest, values: Tensors) -> list[StepGap]:
    """The gap of each output of every alternative that is built, loaded one after the other.

    Args:
        bundle: the bundle, of which the files are known to be those of the manifest.
        manifest: its manifest.
        values: the whole model's own values.
    """
    gaps: list[StepGap] = []
    for other in manifest.alternatives:
        if not other.pending:
            with load(bundle, other, alone=False) as runner:
                found = step_gaps(other, runner, values)
            gaps += [replace(gap, step=label(other)) for gap in found]
    return gaps
