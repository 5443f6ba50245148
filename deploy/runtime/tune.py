"""``tune``: how many threads each engine of a bundle is fastest with, on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from backends.contract import Artifact, DeployError
from deploy.runtime.contender import Medians, contender
from deploy.runtime.manifest import Manifest
from deploy.runtime.pipeline import Pipeline
from deploy.runtime.reading import read_manifest
from deploy.runtime.signing import read_signed
from deploy.runtime.tuned import Threads, forget_tuned, write_tuned

AS_IT_IS, MIXED = "as it was made", "each step its best"

Rounds = Mapping[str, Sequence[Medians]]
"""What each way took, round by round."""


def tune(
    bundle: Path, counts: Sequence[int], rounds: int, forget: bool, key: Path | None = None
) -> bool:
    """Measure, print, and keep the fastest for later openings of this bundle by this user.

    Every way is a process of its own, and their rounds alternate. Each number of threads is tried
    for all engines; then, beside the fastest of these, each engine with its own best. A way counts
    only where its outputs are within the bundle's tolerance.

    Args:
        bundle: the bundle.
        counts: numbers of threads to try; by default 1, 2, 4 and so on up to the cores.
        rounds: how many.
        forget: only forget what was found before.
        key: a public key that must have signed the bundle.

    Raises:
        DeployError: no engine in it has threads to choose, or what was found cannot be kept.
    """
    if forget:
        forget_tuned(read_manifest(bundle) if key is None else read_signed(bundle, key))
        return True
    with Pipeline.open(bundle, key=key) as pipeline:
        manifest = pipeline.manifest
    made = {step.name: int(step.options["threads"]) for step in _tunable(manifest)}
    ways: dict[str, Threads] = {AS_IT_IS: made}
    ways |= {_words(count): dict.fromkeys(made, count) for count in counts or _counts()}
    found = measured(bundle, ways, rounds, key)
    mixed = best_of_each(ways, found)
    final = found
    if mixed not in ways.values():
        ways |= {MIXED: mixed}
        finalists = {name: ways[name] for name in (AS_IT_IS, fastest(found), MIXED)}
        final = measured(bundle, finalists, rounds, key)
    chosen = choose(final)
    _print(ways, {**found, **final}, chosen)
    print(f"kept: {write_tuned(manifest, ways[chosen])}")
    return True


def measured(bundle: Path, ways: Mapping[str, Threads], rounds: int, key: Path | None) -> Rounds:
    """The rounds of each way that agrees with the bundle's sample."""
    found: dict[str, list[Medians]] = {}
    with ExitStack() as running:
        started = {
            name: running.enter_context(contender(bundle, threads, key))
            for name, threads in ways.items()
        }
        good = {name: one for name, one in started.items() if one.agrees}
        if AS_IT_IS not in good:
            raise DeployError(
                f"bundle '{bundle}' is beyond its tolerance on this machine",
                do=f"Look at it: python -m deploy.runtime check {bundle}",
            )
        names = list(good)
        for turn in range(rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                found.setdefault(name, []).append(good[name].round())
    return found


def best_of_each(ways: Mapping[str, Threads], found: Rounds) -> Threads:
    """Each step with the threads of the way that it was fastest in."""
    return {
        step: ways[min(found, key=lambda name: _median(found[name], step))][step]
        for step in ways[AS_IT_IS]
    }


def fastest(found: Rounds) -> str:
    """The way that is fastest as a whole."""
    return min(found, key=lambda name: _median(found[name], "total"))


def choose(found: Rounds) -> str:
    """The fastest way, where it is faster than the bundle as it is in three of four rounds."""
    best = fastest(found)
    pairs = zip(found[best], found[AS_IT_IS], strict=True)
    ratios = [one["total"] / other["total"] for one, other in pairs]
    return best if np.percentile(ratios, 75) < 1 else AS_IT_IS


def _tunable(manifest: Manifest) -> list[Artifact]:
    steps = [step for step in manifest.steps if "threads" in step.options]
    if not steps:
        raise DeployError(f"bundle of '{manifest.model}' has no engine with threads to choose")
    return steps


def _counts() -> list[int]:
    cores = os.cpu_count() or 1
    powers = [1 << power for power in range(cores.bit_length())]
    return sorted({*(power for power in powers if power <= cores), cores})


def _median(rounds: Sequence[Medians], part: str) -> float:
    """Of a part; of the whole for a step that a host step calls, which has no time of its own."""
    return float(np.median([one[part if part in one else "total"] for one in rounds]))


def _words(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _print(ways: Mapping[str, Threads], found: Rounds, chosen: str) -> None:
    steps = [step for step in ways[AS_IT_IS] if step in found[AS_IT_IS][0]]
    print(f"{'ms, median':<22}" + "".join(f"{name:>14}" for name in (*steps, "total")))
    for name, rounds in found.items():
        row = "".join(f"{_median(rounds, part):14.3f}" for part in (*steps, "total"))
        print(f"{name:<22}{row}{'  <- chosen' if name == chosen else ''}")
    for name in set(ways) - set(found):
        print(f"{name:<22}  beyond the tolerance")
    settled = ", ".join(f"{step} {count or 'auto'}" for step, count in ways[chosen].items())
    print(f"threads: {settled}")
