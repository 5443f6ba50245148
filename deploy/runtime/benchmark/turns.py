"""Rounds of several processes in turns, so that what slows the machine down meets all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from backends.contract import EngineError
from deploy.runtime.benchmark.machine_state import MachineState, MachineWatch
from deploy.runtime.benchmark.worker import PAUSE, BenchmarkWorker, Round, RoundLength

SETS = 3
"""Of processes: one may be a tenth faster than the next that does the same."""

Start = Callable[[ExitStack], Mapping[str, BenchmarkWorker]]
"""Starts a set of processes, by the name of what each measures; they end with the stack."""


@dataclass(frozen=True)
class Turn:
    """A round of each process, by its name, and the machine meanwhile."""

    rounds: Mapping[str, Round]
    machine: MachineState


def rounds_in_turns(
    start: Start, rounds: int, length: RoundLength, broken: dict[str, str], sets: int = SETS
) -> Iterator[Turn]:
    """Measure a round of each process, then the next of each.

    The rounds are shared by several sets of processes. Each round begins with another process. A
    first round of each process is not counted: caches fill in it and clocks rise.

    Args:
        start: starts the processes of a set.
        rounds: how many there are.
        length: of a round.
        broken: by name, why a process has ended; it gets no more rounds.
        sets: how often the processes are started anew.

    Yields:
        One round of each process that runs.
    """
    sets = min(sets, rounds)
    for number in range(sets):
        share = rounds * (number + 1) // sets - rounds * number // sets
        with ExitStack() as processes:
            workers = dict(start(processes))
            _measure(workers, list(workers), _warm_up(length), broken)
            watch = MachineWatch()
            for turn in range(share):
                names = list(workers)
                first = turn % max(len(names), 1)
                measured = _measure(workers, names[first:] + names[:first], length, broken)
                yield Turn(measured, watch.state(sum(row.cpu_seconds for row in measured.values())))


def _measure(
    workers: dict[str, BenchmarkWorker],
    names: list[str],
    length: RoundLength,
    broken: dict[str, str],
) -> Mapping[str, Round]:
    measured: dict[str, Round] = {}
    for name in names:
        try:
            measured[name] = workers[name].round(length)
        except EngineError as error:
            broken[name] = str(error)
            del workers[name]
    return measured


def _warm_up(length: RoundLength) -> RoundLength:
    return replace(length, seconds=length.seconds / 3, least=min(length.least, 3), pause=PAUSE)
