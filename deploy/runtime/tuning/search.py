"""``tune``: which engine each step of a bundle is fastest on here, and with how many threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from backends.contract import DeployError, EngineError
from deploy.runtime.bundle.engine_choice import Choice, Choices, forget_tuned, write_tuned
from deploy.runtime.bundle.manifest import read_manifest
from deploy.runtime.bundle.signing import read_signed
from deploy.runtime.tuning.candidates import (
    AS_IT_IS,
    Costs,
    as_made,
    cheapest_candidate,
    connected_steps,
    engine_changes,
    uniform_candidates,
    usable_engines,
)
from deploy.runtime.tuning.worker import Medians, TuningWorker, start_worker

MIXED = "each step its best"


_MOST_MIXED, _SETS = 3, 3


Ways = Mapping[str, Choices]


@dataclass(frozen=True)
class TuningResult:
    """What ways took.

    Attributes:
        rounds: of each way, round by round.
        refused: the ways that do not count, with the reason.
    """

    rounds: Mapping[str, Sequence[Medians]]
    refused: Mapping[str, str]

    def median(self, way: str, part: str = "total") -> float:
        """Of a part; of the whole for a step that a host step calls, which has no own time."""
        rows = self.rounds[way]
        return float(np.median([row[part if part in row else "total"] for row in rows]))

    @property
    def fastest(self) -> str:
        """The way that is fastest as a whole."""
        return min(self.rounds, key=self.median)


def tune(
    bundle: Path, counts: Sequence[int], rounds: int, forget: bool, key: Path | None = None
) -> bool:
    """Measure, print, and keep the fastest for later openings of this bundle by this user.

    Every way is a process of its own, and their rounds take turns. Each engine, with each number of
    threads, is tried on all steps; then, beside the fastest of these, ways in which each step has
    its best. The time of the whole decides, so that what borders cost is in it. A way counts only
    where its outputs are within the tolerance of its precisions.

    Args:
        bundle: the bundle.
        counts: numbers of threads to try; by default 1, 2, 4 and so on up to the cores.
        rounds: how many.
        forget: only forget what was found before.
        key: a public key that must have signed the bundle.

    Raises:
        DeployError: there is nothing to choose, or what was found cannot be kept.
    """
    manifest = read_manifest(bundle) if key is None else read_signed(bundle, key)
    if forget:
        forget_tuned(manifest)
        return True
    engines, left_out = usable_engines(manifest)
    for one in left_out:
        print(f"left out: {one}")
    measure = partial(measured, bundle, rounds=rounds, key=key)
    ways = {AS_IT_IS: as_made(engines), **uniform_candidates(engines, counts)}
    found = measure(ways)
    mixed, final = _mixed(ways, found, connected_steps(manifest), measure)
    ways |= mixed
    chosen = choose(final)
    both = TuningResult({**found.rounds, **final.rounds}, {**found.refused, **final.refused})
    _print(list(engines), both, chosen)
    print(f"chosen: {'; '.join(map(_settled, ways[chosen].items()))}")
    print(f"kept: {write_tuned(manifest, ways[chosen])}")
    return True


def _mixed(
    ways: Ways,
    found: TuningResult,
    pairs: Sequence[tuple[str, str]],
    measure: Callable[[Ways], TuningResult],
) -> tuple[Ways, TuningResult]:
    """Ways with several engines or numbers of threads, and what they and the best others took.

    A border costs nothing until one was measured; so what looks best is measured, until what looks
    best is known.
    """
    costs = costs_of(ways, found, pairs)
    starts = {name: ways[name] for name in found.rounds}
    finalists = {name: ways[name] for name in dict.fromkeys((AS_IT_IS, found.fastest))}
    mixed: dict[str, Choices] = {}
    final = found
    while len(mixed) < _MOST_MIXED:
        way = cheapest_candidate(starts.values(), costs)
        if way in (*starts.values(), *mixed.values()):
            break
        name = MIXED if not mixed else f"{MIXED}, {len(mixed) + 1}"
        mixed[name] = way
        final = measure({**finalists, **mixed})
        costs = _with_borders(costs, way, name, final)
    return mixed, final


def measured(bundle: Path, ways: Ways, rounds: int, key: Path | None) -> TuningResult:
    """The rounds of each way that agrees with the bundle's sample, in sets of fresh processes.

    One process may be a tenth faster than the next that does the same, in each of its rounds.
    """
    found: dict[str, list[Medians]] = {name: [] for name in ways}
    refused: dict[str, str] = {}
    sets = min(_SETS, rounds)
    for number in range(sets):
        share = rounds * (number + 1) // sets - rounds * number // sets
        with ExitStack() as running:
            left = {name: way for name, way in ways.items() if name not in refused}
            good = _started(bundle, left, key, running, refused)
            names = list(good)
            for turn in range(share):
                first = turn % len(names)
                for name in names[first:] + names[:first]:
                    found[name].append(good[name].round())
    return TuningResult(
        {name: rows for name, rows in found.items() if name not in refused}, refused
    )


def _started(
    bundle: Path, ways: Ways, key: Path | None, running: ExitStack, refused: dict[str, str]
) -> dict[str, TuningWorker]:
    """A process of each way that agrees; the others go to ``refused``."""
    good: dict[str, TuningWorker] = {}
    for name, choices in ways.items():
        try:
            started = running.enter_context(start_worker(bundle, choices, key))
        except EngineError:  # its process has said why
            refused[name] = "does not run here"
            continue
        if started.agrees:
            good[name] = started
        else:
            refused[name] = "beyond the tolerance"
    if AS_IT_IS in refused:
        raise DeployError(
            f"bundle '{bundle}' as it was made: {refused[AS_IT_IS]}",
            do=f"Look at it: python -m deploy.runtime check {bundle}",
        )
    return good


def costs_of(ways: Ways, found: TuningResult, pairs: Sequence[tuple[str, str]]) -> Costs:
    """What each step took with each choice, at the least; and nothing yet for borders."""
    steps: dict[str, dict[Choice, float]] = {step: {} for step in ways[AS_IT_IS]}
    for name in found.rounds:
        for step, choice in ways[name].items():
            took = found.median(name, step)
            steps[step][choice] = min(took, steps[step].get(choice, took))
    return Costs(steps, {}, pairs)


def _with_borders(costs: Costs, way: Choices, name: str, final: TuningResult) -> Costs:
    """The costs, with what this way took beyond its steps, shared by its borders."""
    borders = engine_changes(way, costs.pairs)
    if not borders or name not in final.rounds:
        return costs
    took = sum(final.median(name, step) for step in way)
    steps = sum(costs.steps[step][choice] for step, choice in way.items())
    more = max(0.0, took - steps) / len(borders)
    return replace(costs, borders={**costs.borders, **dict.fromkeys(borders, more)})


def choose(found: TuningResult) -> str:
    """The fastest way, where it is faster than the bundle as it is in three of four rounds."""
    best = found.fastest
    pairs = zip(found.rounds[best], found.rounds[AS_IT_IS], strict=True)
    ratios = [one["total"] / other["total"] for one, other in pairs]
    return best if np.percentile(ratios, 75) < 1 else AS_IT_IS


def _settled(step: tuple[str, Choice]) -> str:
    name, choice = step
    threads = "" if choice.threads is None else f", threads {choice.threads or 'auto'}"
    return f"{name} on {choice.engine}{threads}"


def _print(steps: Sequence[str], found: TuningResult, chosen: str) -> None:
    shown = [step for step in steps if step in found.rounds[AS_IT_IS][0]]
    width = max(map(len, (*found.rounds, *found.refused))) + 2
    print(f"{'ms, median':<{width}}" + "".join(f"{name:>14}" for name in (*shown, "total")))
    for name in found.rounds:
        row = "".join(f"{found.median(name, part):14.3f}" for part in (*shown, "total"))
        print(f"{name:<{width}}{row}{'  <- chosen' if name == chosen else ''}")
    for name, why in found.refused.items():
        print(f"{name:<{width}}  {why}")
