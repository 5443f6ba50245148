"""What a device has measured of a bundle; the desk reads it as untrusted JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from deploy.runtime.benchmark.machine_state import MachineState
from deploy.runtime.bundle.manifest import StepMetrics
from deploy.runtime.latency import PartLatency


@dataclass(frozen=True)
class Machine:
    """The machine.

    Attributes:
        system: the operating system and its version.
        architecture: such as ``aarch64``.
        processor: its name; empty where the system does not tell it.
        cores: that this process may use.
        memory: bytes; 0 where the system does not tell it.
        python: its version.
        tools: versions of this project and of the engines' libraries.
        governor: the frequency governor of the cores; empty where there is none.
    """

    system: str
    architecture: str
    processor: str
    cores: int
    memory: int
    python: str
    tools: Mapping[str, str]
    governor: str = ""


@dataclass(frozen=True)
class AlternativeLatency:
    """The latency of the bundle with one choice of its engines.

    Attributes:
        name: of the choice, such as the engine's.
        parts: of a call, the total last, in milliseconds.
        rounds: the p50 of the total in each round, in milliseconds.
        joules: for each call, where the machine meters its energy.
    """

    name: str
    parts: tuple[PartLatency, ...]
    rounds: tuple[float, ...]
    joules: float | None = None


@dataclass(frozen=True)
class DeviceRecord:
    """What was measured of a bundle on a device.

    Attributes:
        device: its name.
        at: the time at the desk, UTC, as ISO 8601.
        machine: the device.
        status: whether the sample agrees with the reference there.
        gaps: the errors of each output for the sample; of every step where engines were built.
        notes: further figures: results matched, scores on a data set.
        latency: of each choice of engines, in turns; that of the bundle as it is used first.
        standing: which of them is the fastest, for people; empty where there is one.
        states: the machine in each round.
    """

    device: str
    at: str
    machine: Machine
    status: Literal["passed", "failed"]
    gaps: tuple[StepMetrics, ...] = ()
    notes: Mapping[str, float] = field(default_factory=dict)
    latency: tuple[AlternativeLatency, ...] = ()
    standing: str = ""
    states: tuple[MachineState, ...] = ()
