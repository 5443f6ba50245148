"""Heat: temperatures, and whether a system slows its processor down because of it.

What is read here every user may read. None stands for what a system does not tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_SYSTEM = Path("/sys")
_COOLING = ("cpufreq", "thermal-cpufreq", "devfreq", "thermal-devfreq", "Processor")
"""Types of cooling devices that cool by a lower clock, and not by a fan."""

# bits that the firmware of a Raspberry Pi reports; 16 places higher, what was so since it started
_LOW_VOLTAGE, _CAPPED, _THROTTLED, _SOFT_LIMIT = 1, 2, 4, 8
_SINCE_START = 16


@dataclass(frozen=True)
class Heat:
    """The heat of a machine, now.

    Attributes:
        celsius: the temperature of its hottest zone.
        events: how often a core was slowed down because of its temperature, since the start.
        is_capped: whether a clock is held down by heat.
        low_voltage: whether the power supply is too weak, which slows a processor down too.
        firmware: the bits of a firmware that reports what has happened since the start.
    """

    celsius: float | None = None
    events: int | None = None
    is_capped: bool | None = None
    low_voltage: bool | None = None
    firmware: int = 0


def read_heat(system: Path = _SYSTEM) -> Heat:
    """The heat of this machine.

    Args:
        system: where the system tells it.
    """
    zones = list(numbers(system.glob("class/thermal/thermal_zone*/temp")))
    cores = system / "devices/system/cpu"
    events = list(numbers(cores.glob("cpu[0-9]*/thermal_throttle/*_throttle_count")))
    cooled = list(_cooling_states(system / "class/thermal"))
    firmware = _firmware_bits(system / "devices/platform")
    capped = [*(state > 0 for state in cooled), *([] if firmware is None else [_is_hot(firmware)])]
    return Heat(
        celsius=max(zones) / 1e3 if zones else None,
        events=sum(events) if events else None,
        is_capped=any(capped) if capped else None,
        low_voltage=None if firmware is None else bool(firmware & _LOW_VOLTAGE),
        firmware=firmware or 0,
    )


def heat_between(before: Heat, now: Heat) -> Heat:
    """The heat now, with what has happened since ``before``: events, and bits of a firmware."""
    events = None if now.events is None or before.events is None else now.events - before.events
    new = (now.firmware & ~before.firmware) >> _SINCE_START
    return Heat(
        celsius=now.celsius,
        events=events,
        is_capped=_either(now.is_capped, before.is_capped, _is_hot(new)),
        low_voltage=_either(now.low_voltage, before.low_voltage, bool(new & _LOW_VOLTAGE)),
        firmware=now.firmware,
    )


def _either(now: bool | None, before: bool | None, between: bool) -> bool | None:
    return None if now is None else bool(now or before or between)


def _is_hot(bits: int) -> bool:
    """Whether a firmware lowers the clock, and not because of a weak power supply."""
    throttled = bits & _THROTTLED and not bits & _LOW_VOLTAGE
    return bool(bits & (_CAPPED | _SOFT_LIMIT) or throttled)


def _cooling_states(folder: Path) -> Iterator[int]:
    for device in folder.glob("cooling_device*"):
        with suppress(OSError, ValueError):
            if (device / "type").read_text().startswith(_COOLING):
                yield int((device / "cur_state").read_text())


def _firmware_bits(platform: Path) -> int | None:
    for pattern in ("*firmware*/get_throttled", "*/*firmware*/get_throttled"):
        for path in platform.glob(pattern):
            with suppress(OSError, ValueError):
                return int(path.read_text(), 16)
    return None


def numbers(paths: Iterable[Path]) -> Iterator[int]:
    """The numbers in those of the files that can be read."""
    for path in paths:
        with suppress(OSError, ValueError):
            yield int(path.read_text())
