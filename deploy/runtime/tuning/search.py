"""The search for the engine, and the number of threads, that each step is fastest with here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from backends.contract import DeployError, EngineError
from deploy.runtime.benchmark.comparison import BEYOND
from deploy.runtime.benchmark.ranking import is_faster, is_noise
from deploy.runtime.benchmark.turns import rounds_in_turns
from deploy.runtime.benchmark.worker import BenchmarkWorker, RoundLength, Subject, start_worker
from deploy.runtime.bundle.engine_choice import Choice, Choices, forget_tuned, write_tuned
from deploy.runtime.bundle.manifest import read_manifest
from deploy.runtime.bundle.signing import read_signed
from deploy.runtime.execution.own_posts import word_for_command
from deploy.runtime.latency import Milliseconds
from deploy.runtime.tuning.candidates import (
    AS_MADE,
    Costs,
    cheapest_candidate,
    connected_steps,
    default_candidate,
    engine_changes,
    uniform_candidates,
    usable_engines,
)

MIXED = "best of each step"
"""The name of the candidate in which each step has the choice that is best for it."""

_MOST_MIXED = 3  # candidates of this kind that are measured
_LENGTH = RoundLength(seconds=0.3, least=5)

Candidates = Mapping[str, Choices]
"""By name."""


@dataclass(frozen=True)
class TuningResult:
    """The latencies of candidates.

    Attributes:
        rounds: by candidate, the medians of each round.
        refused: by candidate that does not count, the reason.
    """

    rounds: Mapping[str, Sequence[Milliseconds]]
    refused: Mapping[str, str]

    def median(self, candidate: str, part: str = "total") -> float:
        """Milliseconds of a part; a step that a host step calls has no time of its own: total."""
        rows = self.rounds[candidate]
        return float(np.median([row[part if part in row else "total"] for row in rows]))

    def totals(self, candidate: str) -> list[float]:
        """Milliseconds of the total in each round."""
        return [row["total"] for row in self.rounds[candidate]]

    @property
    def fastest(self) -> str:
        """The candidate of the least total."""
        return min(self.rounds, key=self.median)


def tune(
    bundle: Path, counts: Sequence[int], rounds: int, forget: bool, key: Path | None = None
) -> bool:
    """Measure, print, and keep the fastest for later openings of this bundle by this user.

    Each candidate runs in a process of its own, and their rounds are interleaved. First each
    engine, with each number of threads, is measured on all steps; then candidates in which each
    step has its best choice, together with the fastest of the first. The total latency decides, so
    that copies and conversions between engines count. A candidate counts only where its outputs
    are within the tolerance of its precisions.

    Args:
        bundle: the bundle.
        counts: numbers of threads to try; by default 1, 2, 4 and so on up to the cores.
        rounds: in which each candidate is measured.
        forget: delete what was kept before, and measure nothing.
        key: a public key that must have signed the bundle.

    Returns:
        True.

    Raises:
        DeployError: there is nothing to choose, or the result cannot be kept.
    """
    manifest = read_manifest(bundle) if key is None else read_signed(bundle, key)
    if forget:
        forget_tuned(manifest)
        return True
    engines, left_out = usable_engines(manifest)
    for line in left_out:
        print(f"left out: {line}")
    measure = partial(measure_candidates, bundle, rounds=rounds, key=key)
    candidates = {AS_MADE: default_candidate(engines), **uniform_candidates(engines, counts)}
    first = measure(candidates)
    mixed, last = _measure_mixed(candidates, first, connected_steps(manifest), measure)
    candidates |= mixed
    chosen = choose(last)
    result = TuningResult({**first.rounds, **last.rounds}, {**first.refused, **last.refused})
    _print(list(engines), result, chosen)
    print(f"chosen: {describe_choices(candidates[chosen])}")
    print(f"kept: {write_tuned(manifest, candidates[chosen])}")
    return True


def _measure_mixed(
    candidates: Candidates,
    result: TuningResult,
    edges: Sequence[tuple[str, str]],
    measure: Callable[[Candidates], TuningResult],
) -> tuple[Candidates, TuningResult]:
    """Measure candidates with several engines or numbers of threads, and the best of the others.

    A border between engines costs nothing until one was measured. So the candidate of the least
    estimated latency is measured, and the estimate corrected, until that candidate is known.

    Returns:
        The new candidates by name, and the last measurement: of these, the fastest before, and
        the bundle as it was made.
    """
    costs = step_costs(candidates, result, edges)
    starts = {name: candidates[name] for name in result.rounds}
    finalists = {name: candidates[name] for name in dict.fromkeys((AS_MADE, result.fastest))}
    mixed: dict[str, Choices] = {}
    while len(mixed) < _MOST_MIXED:
        candidate = cheapest_candidate(starts.values(), costs)
        if candidate in (*starts.values(), *mixed.values()):
            break
        name = MIXED if not mixed else f"{MIXED}, {len(mixed) + 1}"
        mixed[name] = candidate
        result = measure({**finalists, **mixed})
        costs = _with_borders(costs, candidate, name, result)
    return mixed, result


def measure_candidates(
    bundle: Path, candidates: Candidates, rounds: int, key: Path | None
) -> TuningResult:
    """The rounds of each candidate that agrees with the bundle's sample, in sets of processes."""
    medians: dict[str, list[Milliseconds]] = {name: [] for name in candidates}
    refused: dict[str, str] = {}

    def start(processes: ExitStack) -> dict[str, BenchmarkWorker]:
        remaining = {name: choices for name, choices in candidates.items() if name not in refused}
        return _start_workers(bundle, remaining, key, processes, refused)

    for turn in rounds_in_turns(start, rounds, _LENGTH, refused):
        for name, measured in turn.rounds.items():
            medians[name].append(measured.medians)
    _check_as_made(bundle, refused)
    agreeing = {name: rows for name, rows in medians.items() if name not in refused}
    return TuningResult(agreeing, refused)


def _start_workers(
    bundle: Path,
    candidates: Candidates,
    key: Path | None,
    processes: ExitStack,
    refused: dict[str, str],
) -> dict[str, BenchmarkWorker]:
    """A process for each candidate that agrees; the reasons of the others go to ``refused``."""
    workers: dict[str, BenchmarkWorker] = {}
    own_post = word_for_command(read_manifest(bundle).post)
    for name, choices in candidates.items():
        subject = Subject(str(bundle), choices, str(key) if key else None, own_post)
        try:
            worker = processes.enter_context(start_worker(subject))
        except EngineError as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            refused[name] = "does not run here"
            continue
        if worker.agrees:
            workers[name] = worker
        else:
            refused[name] = BEYOND
    _check_as_made(bundle, refused)
    return workers


def _check_as_made(bundle: Path, refused: Mapping[str, str]) -> None:
    if AS_MADE in refused:
        raise DeployError(
            f"bundle '{bundle}' as it was made: {refused[AS_MADE]}",
            do=f"Look at it: python -m deploy.runtime check {bundle}",
        )


def step_costs(
    candidates: Candidates, result: TuningResult, edges: Sequence[tuple[str, str]]
) -> Costs:
    """The least median of each step with each choice; borders between engines cost nothing yet."""
    steps: dict[str, dict[Choice, float]] = {step: {} for step in candidates[AS_MADE]}
    for name in result.rounds:
        for step, choice in candidates[name].items():
            median = result.median(name, step)
            steps[step][choice] = min(median, steps[step].get(choice, median))
    return Costs(steps, {}, edges)


def _with_borders(costs: Costs, candidate: Choices, name: str, result: TuningResult) -> Costs:
    """The costs, with what a candidate took beyond its steps' costs shared by its borders."""
    borders = engine_changes(candidate, costs.edges)
    if not borders or name not in result.rounds:
        return costs
    measured = sum(result.median(name, step) for step in candidate)
    estimated = sum(costs.steps[step][choice] for step, choice in candidate.items())
    excess = max(0.0, measured - estimated) / len(borders)
    return replace(costs, borders={**costs.borders, **dict.fromkeys(borders, excess)})


def choose(result: TuningResult) -> str:
    """The fastest, where it is faster than the bundle as it was made in three of four rounds."""
    fastest = result.fastest
    return fastest if is_faster(result.totals(fastest), result.totals(AS_MADE)) else AS_MADE


def describe_choices(choices: Choices) -> str:
    """The engine, and the threads, of each step for people."""
    return "; ".join(map(_describe, choices.items()))


def _describe(step: tuple[str, Choice]) -> str:
    name, choice = step
    threads = "" if choice.threads is None else f", threads {choice.threads or 'auto'}"
    return f"{name} on {choice.engine}{threads}"


def _print(steps: Sequence[str], result: TuningResult, chosen: str) -> None:
    parts = (*(step for step in steps if step in result.rounds[AS_MADE][0]), "total")
    width = max(map(len, (*result.rounds, *result.refused))) + 2
    print(f"{'ms, median':<{width}}" + "".join(f"{part:>14}" for part in parts))
    for name in result.rounds:
        row = "".join(f"{result.median(name, part):14.3f}" for part in parts)
        noise = "  noise" if is_noise(result.totals(name)) else ""
        print(f"{name:<{width}}{row}{noise}{'  <- chosen' if name == chosen else ''}")
    for name, reason in result.refused.items():
        print(f"{name:<{width}}  {reason}")
