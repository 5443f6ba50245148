"""What a run asks of a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deploy.recipe.devices import DeviceRecipe


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


def measure_words(device: DeviceRecipe, work: DeviceWork, dataset: str | None) -> list[str]:
    """The arguments of the runtime's command ``measure``, but for the bundle and the record.

    Args:
        device: where it runs.
        work: what it measures.
        dataset: the path of the data set there, if there is one.
    """
    words = ["--timeout", f"{device.timeout:g}"]
    if device.tune:
        words.append("--tune")
    if work.rounds:
        words += ["--rounds", str(work.rounds), "--seconds", f"{work.seconds:g}"]
    if dataset is not None:
        words += ["--dataset", dataset]
    return [*words, "--post", work.post] if work.post else words
