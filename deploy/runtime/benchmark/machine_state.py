"""What else the machine did while something was measured: other work, clocks, throttling."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from deploy.runtime.benchmark.heat import Heat, heat_between, numbers, read_heat

Number = TypeVar("Number", int, float)

NOT_READABLE = "not readable"
HOT = "slowed down by heat"
"""The mark of what was measured while heat held a clock down."""

BUSY_CORES = 0.5
"""Other work that a reader of latencies should know of."""

_CPUS = Path("/sys/devices/system/cpu")
_QUOTAS = (  # in a container, of this one: by version of the control groups
    (Path("/sys/fs/cgroup/cpu.stat"), "throttled_usec", 1e-6),
    (Path("/sys/fs/cgroup/cpu/cpu.stat"), "throttled_time", 1e-9),
)
_IDLE = (3, 4)  # of the fields of /proc/stat: idle, and waiting for a disk
_GUEST = 8  # from this field on it counts what user and nice count too


@dataclass(frozen=True)
class MachineState:
    """The machine during a round. None stands for what cannot be read here.

    Attributes:
        seconds: that the round took.
        load: the load average of one minute at its end, with what was measured.
        other_cores: how many cores other processes kept busy, on average.
        megahertz: the mean clock of the cores at its end.
        hot_events: how often a core was slowed down because of its temperature.
        quota_seconds: how long this container was stopped because of its CPU quota.
        celsius: the temperature of the hottest zone at its end.
        is_capped: whether a clock was held down by heat.
        low_voltage: whether the power supply was too weak.
    """

    seconds: float
    load: float | None = None
    other_cores: float | None = None
    megahertz: float | None = None
    hot_events: int | None = None
    quota_seconds: float | None = None
    celsius: float | None = None
    is_capped: bool | None = None
    low_voltage: bool | None = None


@dataclass(frozen=True)
class _Counters:
    clock: float
    busy: float | None
    own: float
    heat: Heat
    quota: float | None


class MachineWatch:
    """Says what the machine did since the round before."""

    def __init__(self) -> None:
        self._before = _counters()

    def state(self, cpu_seconds: float) -> MachineState:
        """The state since the last call, or since the start.

        Args:
            cpu_seconds: what the measured processes have used since then.
        """
        before, now = self._before, _counters()
        self._before = now
        passed = now.clock - before.clock
        busy = _difference(now.busy, before.busy)
        own = now.own - before.own + cpu_seconds
        if busy is not None and busy < own / 2:
            busy = None  # in some containers the counters stand still
        other = None if busy is None or passed <= 0 else max(0.0, busy - own) / passed
        heat = heat_between(before.heat, now.heat)
        return MachineState(
            seconds=passed,
            load=_load(),
            other_cores=other,
            megahertz=_megahertz(),
            hot_events=heat.events,
            quota_seconds=_difference(now.quota, before.quota),
            celsius=heat.celsius,
            is_capped=heat.is_capped,
            low_voltage=heat.low_voltage,
        )


def _counters() -> _Counters:
    return _Counters(
        clock=time.perf_counter(),
        busy=_busy_seconds(),
        own=time.process_time(),
        heat=read_heat(),
        quota=_quota_seconds(),
    )


def _difference(now: Number | None, before: Number | None) -> Number | None:
    return None if now is None or before is None else now - before


def _load() -> float | None:
    with suppress(OSError, AttributeError):
        return os.getloadavg()[0]
    return None


def _busy_seconds(path: Path = Path("/proc/stat")) -> float | None:
    """Seconds that all cores together were busy since the system started."""
    with suppress(OSError, ValueError, AttributeError):
        label, *fields = path.read_text().partition("\n")[0].split()
        if label != "cpu" or not fields:
            return None
        ticks = [int(field) for field in fields[:_GUEST]]
        busy = sum(tick for place, tick in enumerate(ticks) if place not in _IDLE)
        return busy / os.sysconf("SC_CLK_TCK")
    return None


def _megahertz(cpus: Path = _CPUS) -> float | None:
    clocks = list(numbers(cpus.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")))
    return sum(clocks) / len(clocks) / 1e3 if clocks else None


def _quota_seconds(quotas: Sequence[tuple[Path, str, float]] = _QUOTAS) -> float | None:
    for path, key, unit in quotas:
        with suppress(OSError, ValueError):
            rows = dict(line.split() for line in path.read_text().splitlines())
            if key in rows:
                return int(rows[key]) * unit
    return None


def machine_rows(states: Sequence[MachineState]) -> list[tuple[str, ...]]:
    """The state in each round as texts: other work, load, clock, heat, quota stops."""
    return [
        (
            _text(state.other_cores, "{:.1f} cores"),
            _text(state.load, "{:.1f}"),
            _text(state.megahertz, "{:.0f} MHz"),
            _heat_text(state),
            _text(state.quota_seconds, "{:.2f} s"),
        )
        for state in states
    ]


def _text(value: float | None, form: str) -> str:
    return NOT_READABLE if value is None else form.format(value)


def _heat_text(state: MachineState) -> str:
    """How hot it was, and whether that slowed it down."""
    known = state.hot_events is not None or state.is_capped is not None
    slowed = [HOT] if is_slowed_by_heat(state) else ["not slowed down"] if known else []
    degrees = [] if state.celsius is None else [f"{state.celsius:.0f} \N{DEGREE SIGN}C"]
    return ", ".join([*slowed, *degrees]) or NOT_READABLE


def is_slowed_by_heat(state: MachineState) -> bool:
    """Whether heat slowed the processor down; false where that cannot be read."""
    return bool(state.hot_events or state.is_capped)


def slowed_down(states: Sequence[MachineState]) -> tuple[str, ...]:
    """What slowed the processor down in any round, as marks of a latency; empty where nothing did.

    Examples:
        >>> slowed_down([MachineState(1.0, hot_events=0), MachineState(1.0, is_capped=True)])
        ('slowed down by heat',)
    """
    marks = {
        HOT: any(map(is_slowed_by_heat, states)),
        "slowed down by a weak power supply": any(state.low_voltage for state in states),
    }
    return tuple(mark for mark, is_seen in marks.items() if is_seen)


def describe_machine(states: Sequence[MachineState]) -> str:
    """What a reader should know of the machine, in a line.

    Examples:
        >>> describe_machine([MachineState(1.0, load=0.5, other_cores=0.25)])
        'other work 0.2 cores, load 0.5, clock not readable, throttling not readable'
    """
    other = _range([state.other_cores for state in states], "{:.1f}")
    load = _range([state.load for state in states], "{:.1f}")
    clock = _range([state.megahertz for state in states], "{:.0f}")
    degrees = _range([state.celsius for state in states], "{:.0f}")
    return ", ".join(
        (
            f"other work {other} cores" if other else f"other work {NOT_READABLE}",
            f"load {load or NOT_READABLE}",
            f"clock {clock} MHz" if clock else f"clock {NOT_READABLE}",
            *([f"{degrees} \N{DEGREE SIGN}C"] if degrees else []),
            _describe_throttling(states),
        )
    )


def _describe_throttling(states: Sequence[MachineState]) -> str:
    hot = [state.hot_events for state in states if state.hot_events is not None]
    quota = [state.quota_seconds for state in states if state.quota_seconds is not None]
    is_heat_known = bool(hot) or any(state.is_capped is not None for state in states)
    if not is_heat_known and not quota:
        return f"throttling {NOT_READABLE}"
    parts = list(slowed_down(states))
    if sum(hot):
        parts[0] = f"slowed down {sum(hot)} times by heat"
    if sum(quota) >= 0.01:
        parts.append(f"stopped for {sum(quota):.2f} s by the container's CPU quota")
    unknown = "" if is_heat_known else "; heat not readable"
    return f"{' and '.join(parts) or 'no throttling'}{unknown}"


def _range(values: Sequence[float | None], form: str) -> str:
    """The least and the largest that is known, once where both are written alike."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    return " to ".join(dict.fromkeys(form.format(value) for value in (min(known), max(known))))


def is_machine_busy(states: Sequence[MachineState]) -> bool:
    """Whether other processes kept ``BUSY_CORES`` or more busy; false where that cannot be read."""
    known = [state.other_cores for state in states if state.other_cores is not None]
    return bool(known) and sum(known) / len(known) >= BUSY_CORES
