"""Rounds of several processes in turns, so that what slows the machine down meets all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace

from backends.contract import EngineError
from deploy.runtime.benchmark.worker import BenchmarkWorker, Round, RoundLength

SETS = 3
"""Of processes: one may be a tenth faster than the next that does the same."""

Start = Callable[[ExitStack], Mapping[str, BenchmarkWorker]]
"""Starts a set of processes, by the name of what each measures; they end with the stack."""


def rounds_in_turns(
    start: Start, rounds: int, length: RoundLength, broken: dict[str, str]
) -> Iterator[Mapping[str, Round]]:
    """Measure a round of each process, then the next of each.

    The rounds are shared by several sets of processes. Each round begins with another process. A
    first round of each process is not counted: caches fill in it and clocks rise.

    Args:
        start: starts the processes of a set.
        rounds: how many there are.
        length: of a round.
        broken: by name, why a process has ended; it gets no more rounds.

    Yields:
        One round of each process that runs.
    """
    sets = min(SETS, rounds)
    for number in range(sets):
        share = rounds * (number + 1) // sets - rounds * number // sets
        with ExitStack() as processes:
            workers = dict(start(processes))
            _turn(workers, list(workers), _warm_up(length), broken)
            for turn in range(share):
                names = list(workers)
                first = turn % max(len(names), 1)
                yield _turn(workers, names[first:] + names[:first], length, broken)


def _turn(
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
    return replace(length, seconds=length.seconds / 3, least=min(length.least, 3))
