"""What a device has measured of a bundle; the desk reads it as untrusted JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from backends.bounds import Length, Name
from backends.codec import FormatError, from_json, to_json
from backends.contract import DeployError
from backends.json_limits import check_json
from deploy.runtime.benchmark.machine import Machine
from deploy.runtime.benchmark.machine_state import MachineState
from deploy.runtime.bundle.manifest import StepMetrics
from deploy.runtime.latency import PartLatency

MOST_BYTES = 16 << 20
"""Of a record as JSON."""

_LINE_BREAK = re.compile(r"[\r\n]")  # a text with one could print a line of its own


class RecordError(DeployError):
    """What a device has answered is no record of a measurement."""


@dataclass(frozen=True)
class AlternativeLatency:
    """The latency of the bundle with one choice of its engines.

    Attributes:
        name: of the choice, such as the engine's.
        parts: of a call, the total last, in milliseconds.
        rounds: the p50 of the total in each round, in milliseconds.
        joules: for each call, where the machine meters its energy.
    """

    name: Name
    parts: Annotated[tuple[PartLatency, ...], Length(1, 10_000)]
    rounds: Annotated[tuple[float, ...], Length(1, 10_000)]
    joules: float | None = None

    @property
    def total(self) -> PartLatency:
        """The whole call."""
        return self.parts[-1]


@dataclass(frozen=True)
class DeviceRecord:
    """What was measured of a bundle on a device.

    Attributes:
        device: its name.
        at: the time, UTC, as ISO 8601: of the desk where a desk has asked for the record.
        machine: the device.
        status: whether the sample agrees with the reference there.
        gaps: the errors of each output for the sample; of every step where engines were built.
        notes: further figures: results matched, scores on a data set.
        latency: of each choice of engines, in turns; that of the bundle as it is used first.
        standing: which of them is the fastest, for people; empty where there is one.
        states: the machine in each round.
        problem: what does not agree, for people; empty where all does.
        left_out: by name of a choice of engines, why it was not measured.
        tuned: what tuning has chosen, for people; empty where it was not asked for.
    """

    device: Name
    at: Name
    machine: Machine
    status: Literal["passed", "failed"]
    gaps: Annotated[tuple[StepMetrics, ...], Length(0, 100_000)] = ()
    notes: Annotated[Mapping[Name, float], Length(0, 1_000)] = field(default_factory=dict)
    latency: Annotated[tuple[AlternativeLatency, ...], Length(0, 1_000)] = ()
    standing: Name = ""
    states: Annotated[tuple[MachineState, ...], Length(0, 10_000)] = ()
    problem: Name = ""
    left_out: Annotated[Mapping[Name, Name], Length(0, 1_000)] = field(default_factory=dict)
    tuned: Name = ""

    @property
    def used(self) -> AlternativeLatency | None:
        """The latency of the bundle as it is used, if it was measured."""
        return self.latency[0] if self.latency else None


def record_text(record: DeviceRecord) -> str:
    """A record as JSON."""
    return json.dumps(to_json(record))


def parse_record(data: bytes, device: str) -> DeviceRecord:
    """The record that a device has answered.

    Args:
        data: JSON, of a program on another machine.
        device: its name, for errors.

    Raises:
        RecordError: it is none, too large, or has a value that no measurement gives.
    """
    if len(data) > MOST_BYTES:
        got = f"{len(data):,} bytes"
        raise RecordError(f"the record of {device}", expected=f"at most {MOST_BYTES:,}", got=got)
    try:
        parsed = json.loads(data.decode())
        check_json(parsed, "record")
        record = from_json(DeviceRecord, parsed, "record")
        _check_figures(record)
    except (ValueError, RecursionError, FormatError) as error:
        raise RecordError(
            f"what {device} has answered is no record of a measurement: {error}",
            do="Its version of this project may be another; see python -m deploy.runtime "
            "--version there.",
        ) from error
    return record


def _check_figures(record: DeviceRecord) -> None:
    """Refuse texts of several lines, and figures that are no measurements; errors may be anything.

    Raises:
        FormatError: naming the field.
    """
    for path, value in _leaves(to_json(record), "record"):
        if isinstance(value, str) and _LINE_BREAK.search(value):
            raise FormatError(path, expected="a text of one line")
        if isinstance(value, float) and not path.startswith("record.gaps"):
            _check_measured(path, value)


def _check_measured(path: str, value: float) -> None:
    is_note = path.startswith("record.notes")
    if not math.isfinite(value) or (value < 0 and not is_note and not path.endswith("celsius")):
        raise FormatError(path, expected="a finite number from 0 up", got=str(value))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{path}: name", key
            yield from _leaves(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{path}[{number}]")
    else:
        yield path, value
