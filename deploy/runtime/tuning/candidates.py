"""The ways to run a chain that are worth measuring: engines and threads of its steps."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from backends.contract import Artifact, DeployError
from backends.registry import loader
from deploy.runtime.bundle.engine_choice import Choice, Choices, engines_by_step
from deploy.runtime.bundle.manifest import Manifest

AS_IT_IS = "as it was made"


Engines = Mapping[str, Mapping[str, Artifact]]
"""Of each step, what it can run on here, its own first."""


@dataclass(frozen=True)
class Costs:
    """Milliseconds, as far as they were measured.

    Attributes:
        steps: of each step with each choice.
        borders: what a chain takes more where tensors go from one engine to another.
        pairs: the steps of which one takes what the other makes.
    """

    steps: Mapping[str, Mapping[Choice, float]]
    borders: Mapping[tuple[str, str], float]
    pairs: Sequence[tuple[str, str]]

    def of(self, way: Choices) -> float:
        """Of a whole chain, as far as it can be told from its parts."""
        steps = sum(self.steps[name][choice] for name, choice in way.items())
        return steps + sum(
            self.borders.get(border, 0.0) for border in engine_changes(way, self.pairs)
        )


def usable_engines(manifest: Manifest) -> tuple[Engines, list[str]]:
    """What each step can run on here; and what was left out, with the reason.

    Raises:
        DeployError: a step runs on nothing here; or there is nothing to choose, with one engine for
            each step and none that has threads.
    """
    carried = engines_by_step(manifest)
    reasons = {
        (step, name): _obstacle(artifact)
        for step, engines in carried.items()
        for name, artifact in engines.items()
    }
    left_out = [f"{step} on {name}: {why}" for (step, name), why in reasons.items() if why]
    found = {
        step: {name: one for name, one in engines.items() if not reasons[step, name]}
        for step, engines in carried.items()
    }
    if stuck := [step for step, engines in found.items() if not engines]:
        raise DeployError(
            f"step '{stuck[0]}' of '{manifest.model}' has no engine that runs here",
            got="; ".join(one for one in left_out if one.startswith(f"{stuck[0]} on ")),
        )
    tunable = {
        step: engines
        for step, engines in found.items()
        if len(carried[step]) > 1 or any("threads" in one.options for one in engines.values())
    }
    if not tunable:
        raise DeployError(
            f"bundle of '{manifest.model}' has no engine with threads, and no engines to choose",
            do="Make it with several backends for a segment: +backend=[NAME,NAME].",
        )
    return tunable, left_out


def _obstacle(artifact: Artifact) -> str:
    if artifact.pending:
        return "not built yet"
    try:
        loader(artifact.backend)
    except DeployError as error:
        return str(error)
    return ""


def as_made(engines: Engines) -> Choices:
    """Each step on the first engine that runs here, with the threads that were recorded."""
    own = {step: next(iter(found.items())) for step, found in engines.items()}
    return {step: Choice(name, _recorded(artifact)) for step, (name, artifact) in own.items()}


def uniform_candidates(engines: Engines, counts: Sequence[int]) -> dict[str, Choices]:
    """Every engine on all steps that have it, with each number of threads, by name.

    A step that does not have the engine stays on its own.
    """
    names = dict.fromkeys(name for found in engines.values() for name in found)
    ways: dict[str, Choices] = {}
    for name in names:
        for count in counts or default_counts():
            way = {step: _choice(found, name, count) for step, found in engines.items()}
            if way not in ways.values():
                ways[_words(name if len(names) > 1 else "", way, count)] = way
    return ways


def _choice(engines: Mapping[str, Artifact], name: str, count: int) -> Choice:
    name = name if name in engines else next(iter(engines))
    return Choice(name, count if "threads" in engines[name].options else None)


def _recorded(artifact: Artifact) -> int | None:
    return int(artifact.options["threads"]) if "threads" in artifact.options else None


def _words(engine: str, way: Choices, count: int) -> str:
    threaded = any(choice.threads is not None for choice in way.values())
    threads = f"{count} thread{'s' if count > 1 else ''}" if threaded else ""
    return ", ".join(filter(None, (engine, threads)))


def default_counts() -> list[int]:
    """Numbers of threads to try: 1, 2, 4 and so on up to the cores."""
    cores = os.cpu_count() or 1
    powers = [1 << power for power in range(cores.bit_length())]
    return sorted({*(power for power in powers if power <= cores), cores})


def connected_steps(manifest: Manifest) -> list[tuple[str, str]]:
    """Engine steps of which one takes what the other makes."""
    return [
        (one.name, other.name)
        for one in manifest.steps
        for other in manifest.steps
        if {spec.name for spec in one.outputs} & {spec.name for spec in other.inputs}
    ]


def engine_changes(way: Choices, pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The borders of a way at which the engine changes, as pairs of engines."""
    both = (
        (way[one].engine, way[other].engine) for one, other in pairs if {one, other} <= way.keys()
    )
    return [border for border in both if border[0] != border[1]]


def cheapest_candidate(starts: Iterable[Choices], costs: Costs) -> Choices:
    """The way that should take the least, found from each start by changing one step at a time."""
    return min((_improved(start, costs) for start in starts), key=costs.of)


def _improved(way: Choices, costs: Costs) -> Choices:
    while True:
        others = (
            {**way, step: choice}
            for step, choices in costs.steps.items()
            if step in way
            for choice in choices
        )
        best = min(others, key=costs.of)
        if costs.of(best) >= costs.of(way):
            return way
        way = best
