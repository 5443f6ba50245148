"""Several bundles measured in turns, each in a process of its own, and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from backends.contract import EngineError
from deploy.runtime.benchmark.machine_state import MachineState
from deploy.runtime.benchmark.measurement import Measurement, measurement_of
from deploy.runtime.benchmark.ranking import Ranking, rank
from deploy.runtime.benchmark.turns import rounds_in_turns
from deploy.runtime.benchmark.worker import (
    BenchmarkWorker,
    Round,
    RoundLength,
    Subject,
    start_worker,
)

CHANGED = "its bundle was changed after the verification"
"""Why a bundle is not measured whose errors are those of another."""

BEYOND = "beyond the tolerance"
"""Why something is not measured whose outputs for the sample do not agree."""

_LEAST_CALLS = 3  # of a round, however long a call takes
_LEAST_MEMORY = 0.1  # share of the machine's that stays free when a process is started


@dataclass(frozen=True)
class Contender:
    """A bundle to measure beside others.

    Attributes:
        subject: the bundle.
        manifest_sha256: of the manifest that was verified.
        is_ranked: whether it may be called the fastest; one beyond its tolerance may not.
        must_agree: whether it is left out where its outputs for the sample do not agree.
    """

    subject: Subject
    manifest_sha256: str
    is_ranked: bool = True
    must_agree: bool = False


@dataclass(frozen=True)
class Comparison:
    """The latencies of bundles that were measured in turns, by their names.

    Attributes:
        measurements: of each that runs.
        left_out: by name, why one was not measured.
        ranking: what the rounds say about the fastest; None where fewer than two were ranked.
        machine: the machine in each round.
    """

    measurements: Mapping[str, Measurement]
    left_out: Mapping[str, str]
    ranking: Ranking | None
    machine: tuple[MachineState, ...]


def compare(
    contenders: Mapping[str, Contender],
    rounds: int,
    seconds: float,
    on_round: Callable[[int], None] = lambda _: None,
) -> Comparison:
    """Measure bundles in turns; what does not run is left out.

    Args:
        contenders: by name, the bundles.
        rounds: in which each is measured.
        seconds: that each is measured for, in all of its rounds; a round has at least three calls.
        on_round: called with the number of each round that has ended, from 1 up.
    """
    left_out: dict[str, str] = {}

    def start(processes: ExitStack) -> dict[str, BenchmarkWorker]:
        remaining = {name: one for name, one in contenders.items() if name not in left_out}
        return _start_workers(remaining, processes, left_out)

    measured: dict[str, list[Round]] = {name: [] for name in contenders}
    machine: list[MachineState] = []
    length = RoundLength(seconds / rounds, _LEAST_CALLS)
    for number, turn in enumerate(rounds_in_turns(start, rounds, length, left_out), start=1):
        for name, row in turn.rounds.items():
            measured[name].append(row)
        machine.append(turn.machine)
        on_round(number)
    measurements = {
        name: measurement_of(rows)
        for name, rows in measured.items()
        if name not in left_out and rows
    }
    ranked = {name: one.rounds for name, one in measurements.items() if contenders[name].is_ranked}
    return Comparison(measurements, left_out, rank(ranked), tuple(machine))


def _start_workers(
    contenders: Mapping[str, Contender], processes: ExitStack, left_out: dict[str, str]
) -> dict[str, BenchmarkWorker]:
    """A process for each that runs; why the others do not goes to ``left_out``."""
    workers: dict[str, BenchmarkWorker] = {}
    for name, contender in contenders.items():
        if _is_memory_short():
            left_out[name] = "too little memory is free for one more process"
            continue
        try:
            worker = processes.enter_context(start_worker(contender.subject))
        except EngineError as error:
            left_out[name] = str(error)
            continue
        if reason := _refusal(contender, worker):
            left_out[name] = reason
        else:
            workers[name] = worker
    return workers


def _refusal(contender: Contender, worker: BenchmarkWorker) -> str:
    if worker.manifest_sha256 != contender.manifest_sha256:
        return CHANGED
    return BEYOND if contender.must_agree and not worker.agrees else ""


def _is_memory_short(path: Path = Path("/proc/meminfo")) -> bool:
    """Whether little of the machine's memory is available; false where that cannot be read."""
    with suppress(OSError, ValueError, LookupError):
        rows = dict(line.partition(":")[::2] for line in path.read_text().splitlines())
        free, whole = (int(rows.get(key, "").split()[0]) for key in ("MemAvailable", "MemTotal"))
        return free < _LEAST_MEMORY * whole
    return False
