"""A bundle on a device: shipped there if it is not this machine, and measured there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.recipe.devices import DeviceRecipe
from deploy.runtime.device_record import DeviceRecord


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


def measure_on(
    device: DeviceRecipe, bundle: Path, work: DeviceWork, tell: Callable[[str], None]
) -> DeviceRecord:
    """Measure a bundle on a device.

    Args:
        device: where.
        bundle: its folder here.
        work: what is measured.
        tell: is given a line on what is being done.

    Raises:
        DeviceError: the device cannot be reached or lacks something, or the bundle fails there.
    """
    raise NotImplementedError
