"""The cases of a kind, handled in one process or several."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tests.fuzzing.campaign import Outcome, run
from tests.fuzzing.cases import case
from tests.fuzzing.ground import ground
from tests.fuzzing.kept import kept
from tests.fuzzing.seeds import corpus
from tests.fuzzing.trees import Seed
from tests.fuzzing.worker import Job


@dataclass(frozen=True)
class Asked:
    """Cases to be handled.

    Attributes:
        kind: their kind.
        numbers: theirs.
        corpus: the folder of the seeds.
        seed: of the mutants.
        forked: whether the product's own child processes are forks of the worker.
        kept: whether the kept cases are meant.
    """

    kind: str
    numbers: Sequence[int]
    corpus: Path
    seed: int
    forked: bool
    kept: bool


def outcomes(asked: Asked, jobs: int) -> Iterator[Outcome]:
    """What comes of the cases; in their order where there is one process."""
    _seeds(asked)  # once, before there are several processes that need them
    if jobs == 1:
        yield from _handled(asked)
        return
    shares = [replace(asked, numbers=asked.numbers[start::jobs]) for start in range(jobs)]
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        for found in pool.map(_listed, shares):
            yield from found


def _listed(asked: Asked) -> list[Outcome]:
    return list(_handled(asked))


def _seeds(asked: Asked) -> list[Seed]:
    return [] if asked.kept else corpus(asked.kind, asked.corpus)


def _handled(asked: Asked) -> Iterator[Outcome]:
    from tests.fuzzing.forks import use_forks
    from tests.fuzzing.targets import TARGETS, warm  # imports engines

    warm(asked.kind)
    if asked.forked:
        use_forks()
    seeds = _seeds(asked)
    with ground(seeds) as place:
        make = partial(case, asked.kind, asked.seed, seeds=seeds, outside=place.outside)
        if asked.kept:
            make = partial(kept, asked.kind, ground=place)
        yield from run(Job(asked.kind, make, TARGETS[asked.kind], place), asked.numbers)
