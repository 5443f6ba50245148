"""The latency of one bundle, with the rounds that it was measured in and the machine meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from backends.contract import EngineError
from deploy.runtime.benchmark.machine_state import MachineState
from deploy.runtime.benchmark.ranking import is_noise
from deploy.runtime.benchmark.turns import rounds_in_turns
from deploy.runtime.benchmark.worker import (
    BenchmarkWorker,
    Round,
    RoundLength,
    Subject,
    WorkerProcess,
    start_worker,
)
from deploy.runtime.latency import PartLatency, summarize_latency

_ROUNDS_ALONE, _ALONE = 5, "bundle"


@dataclass(frozen=True)
class Measurement:
    """Latency in milliseconds.

    Attributes:
        parts: of every part of a call, the total last. Each p50 is the median of the p50s of the
            rounds; the other figures are those of all calls.
        rounds: the p50 of the total in each round.
        calls: how many calls were measured.
        machine: the machine in each round.
        joules: of a call, where the machine meters its energy.
    """

    parts: tuple[PartLatency, ...]
    rounds: tuple[float, ...]
    calls: int
    machine: tuple[MachineState, ...] = ()
    joules: float | None = None

    @property
    def total(self) -> PartLatency:
        """The whole call."""
        return self.parts[-1]

    @property
    def is_noise(self) -> bool:
        """Whether the rounds disagree with each other."""
        return is_noise(self.rounds)


def measurement_of(rounds: Sequence[Round], machine: Sequence[MachineState] = ()) -> Measurement:
    """The latency that rounds show.

    Args:
        rounds: at least one, with at least one call.
        machine: the machine in each of them.
    """
    medians = [turn.medians for turn in rounds]
    calls = [call for turn in rounds for call in turn.calls]
    figures = {
        part: {**row, "p50": float(np.median([median[part] for median in medians]))}
        for part, row in summarize_latency(calls).items()
    }
    return Measurement(
        parts=tuple(PartLatency(part, **row) for part, row in figures.items()),
        rounds=tuple(median["total"] for median in medians),
        calls=len(calls),
        machine=tuple(machine),
        joules=_joules(rounds),
    )


def _joules(rounds: Sequence[Round]) -> float | None:
    """Of a call; None unless every round was metered."""
    metered = [turn.joules for turn in rounds if turn.joules is not None]
    if len(metered) < len(rounds):
        return None
    return sum(metered) / sum(len(turn.calls) for turn in rounds)


def measure_alone(
    subject: Subject, calls: int, waiting: WorkerProcess | None = None
) -> Measurement:
    """Measure one bundle in a process of its own, in a few rounds.

    Args:
        subject: the bundle.
        calls: how many at least.
        waiting: a process that was started before; a new one by default.

    Raises:
        EngineError: the bundle does not run there.
    """
    rounds = min(_ROUNDS_ALONE, calls)
    in_a_round = -(-calls // rounds)
    # no other process has run between its rounds
    length = RoundLength(0.0, least=in_a_round, most=in_a_round, pause=0.0)

    def start(processes: ExitStack) -> dict[str, BenchmarkWorker]:
        return {_ALONE: processes.enter_context(start_worker(subject, waiting))}

    broken: dict[str, str] = {}
    turns = list(rounds_in_turns(start, rounds, length, broken, sets=1))
    if broken:
        raise EngineError(broken[_ALONE])
    return measurement_of([turn.rounds[_ALONE] for turn in turns], [turn.machine for turn in turns])
