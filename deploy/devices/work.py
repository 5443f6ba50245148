"""What a run asks of a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DeviceWork:
    """What is measured on a device beside the check of the sample.

    Attributes:
        rounds: of the latency; 0 leaves it out.
        seconds: that each alternative is measured for, in all rounds together.
        dataset: a data set here to evaluate on, or None.
        post: a post-processing step of the user's own that the bundle needs, as of ``--post``.
    """

    rounds: int = 0
    seconds: float = 0.0
    dataset: Path | None = None
    post: str | None = None
