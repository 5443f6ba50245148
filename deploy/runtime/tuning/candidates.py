"""Candidates to measure: which engine runs each step of a chain, with how many threads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from backends.contract import Artifact, DeployError
from backends.options import parse_options
from backends.registry import about, loader, options_type
from deploy.runtime.bundle.engine_choice import Choice, Choices, engines_by_step
from deploy.runtime.bundle.manifest import Manifest

AS_MADE = "as it was made"
"""The name of the candidate that is the bundle's own engines and threads."""


Engines = Mapping[str, Mapping[str, Artifact]]
"""By step, the engines that it can run on here; its own is the first."""


@dataclass(frozen=True)
class Costs:
    """A model of a chain's latency, in milliseconds.

    Attributes:
        steps: by step, what it takes with each choice.
        borders: by pair of engines, what a chain takes more where a tensor goes from the one to
            the other.
        edges: the pairs of steps of which one consumes an output of the other.
    """

    steps: Mapping[str, Mapping[Choice, float]]
    borders: Mapping[tuple[str, str], float]
    edges: Sequence[tuple[str, str]]

    def of(self, candidate: Choices) -> float:
        """The estimated latency of a chain."""
        steps = sum(self.steps[name][choice] for name, choice in candidate.items())
        borders = engine_changes(candidate, self.edges)
        return steps + sum(self.borders.get(border, 0.0) for border in borders)


def usable_engines(manifest: Manifest) -> tuple[Engines, list[str]]:
    """The engines that each step can run on here.

    Returns:
        The engines of the steps for which there is a choice; and a line for each engine of the
        bundle that was left out, with the reason.

    Raises:
        DeployError: a step has no engine that runs here; or there is nothing to choose, with one
            engine for each step and none that has threads.
    """
    carried = engines_by_step(manifest)
    obstacles = {
        (step, name): engine_obstacle(artifact)
        for step, engines in carried.items()
        for name, artifact in engines.items()
    }
    left_out = [f"{step} on {name}: {why}" for (step, name), why in obstacles.items() if why]
    usable = {
        step: {name: engine for name, engine in engines.items() if not obstacles[step, name]}
        for step, engines in carried.items()
    }
    if stuck := [step for step, engines in usable.items() if not engines]:
        raise DeployError(
            f"step '{stuck[0]}' of '{manifest.model}' has no engine that runs here",
            got="; ".join(line for line in left_out if line.startswith(f"{stuck[0]} on ")),
        )
    tunable = {
        step: engines
        for step, engines in usable.items()
        if len(carried[step]) > 1 or any("threads" in engine.options for engine in engines.values())
    }
    if not tunable:
        raise DeployError(
            f"bundle of '{manifest.model}' has no engine with threads, and no engines to choose",
            do="Make it with several backends for a segment: +backend=[NAME,NAME].",
        )
    return tunable, left_out


def engine_obstacle(artifact: Artifact) -> str:
    """Why an engine cannot run here; empty where it can."""
    if artifact.pending:
        return "not verified yet" if artifact.built else "not built yet"
    try:
        loader(artifact.backend)
        kind = options_type(artifact.backend)
        options = parse_options(kind, artifact.options, artifact.backend)
    except DeployError as error:
        return str(error)
    return about(artifact.backend).misfit(options)


def default_candidate(engines: Engines) -> Choices:
    """Each step on the first engine that runs here, with the threads that the bundle records."""
    own = {step: next(iter(usable.items())) for step, usable in engines.items()}
    return {
        step: Choice(name, _recorded_threads(artifact)) for step, (name, artifact) in own.items()
    }


def uniform_candidates(engines: Engines, counts: Sequence[int]) -> dict[str, Choices]:
    """By name, every engine on all steps that have it, with each number of threads.

    A step that does not have the engine stays on its own.
    """
    names = dict.fromkeys(name for usable in engines.values() for name in usable)
    candidates: dict[str, Choices] = {}
    for name in names:
        for count in counts or default_counts():
            candidate = {step: _choice(usable, name, count) for step, usable in engines.items()}
            if candidate not in candidates.values():
                label = _label(name if len(names) > 1 else "", candidate, count)
                candidates[label] = candidate
    return candidates


def engine_candidates(engines: Engines) -> dict[str, Choices]:
    """By name, every engine on all steps that have it, with the threads that the bundle records.

    A step that does not have the engine stays on its own.
    """
    names = dict.fromkeys(name for usable in engines.values() for name in usable)
    candidates: dict[str, Choices] = {}
    for name in names:
        candidate = {step: _choice(usable, name, None) for step, usable in engines.items()}
        if candidate not in candidates.values():
            candidates[_label(name, candidate, None)] = candidate
    return candidates


def _choice(engines: Mapping[str, Artifact], name: str, count: int | None) -> Choice:
    name = name if name in engines else next(iter(engines))
    return Choice(name, count if "threads" in engines[name].options else None)


def _recorded_threads(artifact: Artifact) -> int | None:
    return int(artifact.options["threads"]) if "threads" in artifact.options else None


def _label(engine: str, candidate: Choices, count: int | None) -> str:
    threaded = count is not None and any(choice.threads for choice in candidate.values())
    threads = f"{count} thread{'s' if count != 1 else ''}" if threaded else ""
    others = (
        f"{step} on {choice.engine}"
        for step, choice in candidate.items()
        if engine and choice.engine != engine
    )
    return ", ".join(filter(None, (engine, *others, threads)))


def default_counts() -> list[int]:
    """Numbers of threads to try: the powers of 2 up to the cores, and the cores."""
    cores = os.cpu_count() or 1
    powers = [1 << power for power in range(cores.bit_length())]
    return sorted({*(power for power in powers if power <= cores), cores})


def connected_steps(manifest: Manifest) -> list[tuple[str, str]]:
    """The pairs of engine steps of which the second consumes an output of the first."""
    return [
        (producer.name, consumer.name)
        for producer in manifest.steps
        for consumer in manifest.steps
        if {spec.name for spec in producer.outputs} & {spec.name for spec in consumer.inputs}
    ]


def engine_changes(candidate: Choices, edges: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs of different engines between which a tensor goes."""
    borders = (
        (candidate[producer].engine, candidate[consumer].engine)
        for producer, consumer in edges
        if {producer, consumer} <= candidate.keys()
    )
    return [border for border in borders if border[0] != border[1]]


def cheapest_candidate(starts: Iterable[Choices], costs: Costs) -> Choices:
    """The candidate of least estimated latency, by local search from each start."""
    return min((_local_minimum(start, costs) for start in starts), key=costs.of)


def _local_minimum(candidate: Choices, costs: Costs) -> Choices:
    """Change the one step that brings most, until no change of one step brings anything."""
    while True:
        neighbours = (
            {**candidate, step: choice}
            for step, choices in costs.steps.items()
            if step in candidate
            for choice in choices
        )
        best = min(neighbours, key=costs.of)
        if costs.of(best) >= costs.of(candidate):
            return candidate
        candidate = best
