"""The energy of a piece of work, where the machine meters it for every user; else nothing.

Two meters are known. RAPL counts the joules of the processor packages. A power monitor on the rail
that supplies a whole module, such as the INA3221 of a Jetson, says how many watts it draws now; it
is sampled. Both count what the machine draws when idle, and what other programs do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_SYSTEM = Path("/sys")
_INPUT_RAILS = ("VDD_IN", "POM_5V_IN", "5V_IN", "VIN")
"""Labels of rails that supply a whole module. Others are parts of one, or parts of each other."""

_INTERVAL = 0.01  # seconds between two samples of a rail


def with_energy(work: Callable[[], T], system: Path = _SYSTEM) -> tuple[T, float | None]:
    """Do some work, and meter the machine meanwhile.

    Args:
        work: what is to be done.
        system: where the system has its meters.

    Returns:
        The result of the work, and joules; None where nothing meters them.
    """
    if counters := _read_packages(system):
        result = work()
        return result, joules_between(counters, _read_packages(system))
    if rail := input_rail(system):
        with_samples = _Samples(rail)
        return with_samples.during(work), with_samples.joules
    return work(), None


@dataclass(frozen=True)
class PackageCounter:
    """The counter of a processor package: microjoules, which begin anew behind ``most``."""

    value: int
    most: int


def _read_packages(system: Path) -> Mapping[str, PackageCounter]:
    """By zone, the counters of all processor packages; empty where one of them is not readable."""
    zones = [
        zone
        for zone in (system / "class/powercap").glob("intel-rapl:*")
        if zone.name.count(":") == 1 and _text(zone / "name").startswith("package")
    ]
    counters: dict[str, PackageCounter] = {}
    with suppress(OSError, ValueError):
        for zone in zones:
            value, most = (
                int((zone / name).read_text()) for name in ("energy_uj", "max_energy_range_uj")
            )
            counters[zone.name] = PackageCounter(value, most)
    return counters if len(counters) == len(zones) else {}


def joules_between(
    before: Mapping[str, PackageCounter], now: Mapping[str, PackageCounter]
) -> float | None:
    """The joules of all packages together; None where one of them has ended to be readable.

    Examples:
        >>> before = {"package-0": PackageCounter(9_000_000, 10_000_000)}
        >>> joules_between(before, {"package-0": PackageCounter(500_000, 10_000_000)})
        1.5
    """
    if before.keys() != now.keys():
        return None
    passed = [_passed(before[name], now[name]) for name in before]
    return sum(passed) / 1e6


def _passed(before: PackageCounter, now: PackageCounter) -> int:
    began_anew = now.value < before.value
    return now.value - before.value + (now.most if began_anew else 0)


@dataclass(frozen=True)
class Rail:
    """A rail whose power can be read.

    Attributes:
        factors: files whose product is its power.
        unit: of that product, in watts.
    """

    factors: Sequence[Path]
    unit: float

    def watts(self) -> float:
        """Its power now.

        Raises:
            OSError, ValueError: it cannot be read any more.
        """
        product = 1.0
        for path in self.factors:
            product *= int(path.read_text())
        return product * self.unit


def input_rail(system: Path = _SYSTEM) -> Rail | None:
    """The rail that supplies the whole module, where a power monitor names it."""
    for label in sorted((system / "class/hwmon").glob("hwmon*/in*_label")):
        if _text(label) in _INPUT_RAILS:
            number = label.name.removeprefix("in").removesuffix("_label")
            power = Rail([label.with_name(f"power{number}_input")], 1e-6)
            volts_and_amperes = [f"in{number}_input", f"curr{number}_input"]  # thousandths
            product = Rail([label.with_name(name) for name in volts_and_amperes], 1e-6)
            for rail in (power, product):
                with suppress(OSError, ValueError):
                    rail.watts()
                    return rail
    return None


class _Samples:
    """Samples of a rail's power, which a thread takes while some work is done."""

    def __init__(self, rail: Rail) -> None:
        self._rail = rail
        self._samples: list[tuple[float, float]] = []
        self._ended = threading.Event()

    def during(self, work: Callable[[], T]) -> T:
        thread = threading.Thread(target=self._take, daemon=True)
        thread.start()
        try:
            return work()
        finally:
            self._ended.set()
            thread.join()

    def _take(self) -> None:
        with suppress(OSError, ValueError):
            self._sample()
            while not self._ended.wait(_INTERVAL):
                self._sample()
            self._sample()
            return
        self._samples.clear()

    def _sample(self) -> None:
        self._samples.append((time.perf_counter(), self._rail.watts()))

    @property
    def joules(self) -> float | None:
        return joules_of_samples(self._samples)


def joules_of_samples(samples: Sequence[tuple[float, float]]) -> float | None:
    """The joules between the first sample and the last, each of seconds and watts.

    Examples:
        >>> joules_of_samples([(0.0, 4.0), (1.0, 6.0), (2.0, 6.0)])
        11.0
    """
    if len(samples) < 2:
        return None
    return sum(
        (now - then) * (before + after) / 2 for (then, before), (now, after) in pairwise(samples)
    )


def _text(path: Path) -> str:
    with suppress(OSError, ValueError):
        return path.read_text().strip()
    return ""
