"""A bundle's latency, taken by the device's own command in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backends.error_metrics import worst
from deploy.precision.cast_segments import CastSummary
from deploy.runtime.accuracy.step_errors import CHAIN
from deploy.runtime.bundle.engine_choice import engines_by_step
from deploy.runtime.bundle.manifest import Manifest
from deploy.runtime.latency import PartLatency
from deploy.verify import Verdict


@dataclass(frozen=True)
class Latency:
    """Milliseconds from a picture to detections, or of the chain where there is no picture.

    Attributes:
        p50: of the whole.
        p90: of the whole.
        parts: of every part, the whole last.
        runs: that they were taken from.
    """

    p50: float
    p90: float
    parts: tuple[PartLatency, ...] = ()
    runs: int = 0


@dataclass(frozen=True)
class RunResult:
    """What a run made, how it measured up, and against what.

    ``pictures`` are those that detections were compared on.
    """

    bundle: Path
    manifest: Manifest
    verdict: Verdict
    against: str
    latency: Latency | None
    halved: Sequence[CastSummary] = ()
    pictures: Sequence[Path] = ()

    @property
    def size(self) -> int:
        """Bytes of the steps' own files."""
        steps = self.manifest.steps
        files = [name for step in steps for name in (step.files or step.source)]
        return sum(self.manifest.files[name].size for name in files)

    @property
    def backends(self) -> str:
        """The backends of the steps, such as ``a`` or ``a+b``."""
        return "+".join(dict.fromkeys(step.backend for step in self.manifest.steps))

    @property
    def choices(self) -> dict[str, list[str]]:
        """The engines of each step that has several, its own first."""
        found = {step: list(engines) for step, engines in engines_by_step(self.manifest).items()}
        return {step: engines for step, engines in found.items() if len(engines) > 1}

    @property
    def gap(self) -> float | None:
        """The chain's largest relative distance from PyTorch, where it was measured."""
        gaps = [item.gap for item in self.manifest.verification.gaps if item.step == CHAIN]
        return worst(gaps).max_rel if gaps else None

    @property
    def pending(self) -> bool:
        """Whether the device has still to build engines."""
        return any(step.pending for step in self.manifest.steps)
