"""Which of the engines that a bundle carries for a step runs it, and with how many threads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from backends.contract import Artifact
from deploy.runtime.manifest import BundleError, Manifest


@dataclass(frozen=True)
class Choice:
    """How a step is to run.

    Attributes:
        engine: one of those that the bundle carries for it, as ``engine_of`` names it; an empty
            name is the step's own.
        threads: of an engine that has this option: 0 is the engine's own choice, and nothing what
            was recorded.
    """

    engine: str = ""
    threads: int | None = None


Choices = Mapping[str, Choice]
"""By the name of a step; one that is not there runs as it was made."""


def engine_of(artifact: Artifact) -> str:
    """What tells the engines of a step apart, such as ``some-fp16``."""
    return f"{artifact.backend}-{artifact.precision}"


def engines_of(manifest: Manifest) -> dict[str, dict[str, Artifact]]:
    """Of each step, what it can run on by ``engine_of``; its own comes first."""
    found = {step.name: {engine_of(step): step} for step in manifest.steps}
    for other in manifest.alternatives:
        found[other.name][engine_of(other)] = other
    return found


def chosen(manifest: Manifest, choices: Choices) -> Manifest:
    """The manifest with each step on the engine, and with the threads, that are chosen for it.

    Raises:
        BundleError: it has no such step, or does not carry such an engine for it.
    """
    engines = engines_of(manifest)
    for name, choice in choices.items():
        if name not in engines:
            raise BundleError(f"step '{name}'", expected=f"one of {', '.join(engines)}", got=name)
        if choice.engine and choice.engine not in engines[name]:
            raise BundleError(
                f"engine of step '{name}'",
                expected=f"one of {', '.join(engines[name])}",
                got=choice.engine,
            )
    steps = (_settled(engines[step.name], choices.get(step.name)) for step in manifest.steps)
    return replace(manifest, steps=tuple(steps))


def _settled(engines: Mapping[str, Artifact], choice: Choice | None) -> Artifact:
    choice = choice or Choice()
    step = engines[choice.engine or next(iter(engines))]
    if choice.threads is None or "threads" not in step.options:
        return step
    return replace(step, options={**step.options, "threads": choice.threads})
