"""OpenVINO, for x86 and Arm CPUs."""

from __future__ import annotations

from dataclasses import dataclass

from backends.contract import About
from backends.options import MAX_THREADS

ABOUT = About(
    summary="OpenVINO: CPUs of servers and desktops",
    extra="openvino",
    convert=("openvino",),
    run=("openvino",),
)


@dataclass(frozen=True)
class Options:
    """Options of OpenVINO.

    Attributes:
        threads: of a call; 0 leaves it to the engine.
    """

    threads: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.threads <= MAX_THREADS:
            raise ValueError(f"threads: expected 0 to {MAX_THREADS}, got {self.threads}")
