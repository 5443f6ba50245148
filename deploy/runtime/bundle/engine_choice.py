"""Which engine of a bundle runs each step, with how many threads; and what tuning has kept."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from backends.codec import from_json
from backends.contract import Artifact, DeployError
from backends.files import atomic_write
from backends.options import other_device
from backends.user_cache import cache_folder
from deploy.runtime.bundle.manifest import BundleError, Manifest
from deploy.runtime.bundle.trust import bundle_digest, files_digest


@dataclass(frozen=True)
class Choice:
    """How a step is to run.

    Attributes:
        engine: one of those that the bundle carries for the step, as ``engine_name`` names it,
            such as ``some-fp16``; empty is the step's own.
        threads: of an engine that has this option; 0 leaves the number to the engine, and None is
            the number that the bundle records.

    Examples:
        >>> from deploy.runtime import Choice
        >>> Choice(threads=4)
        Choice(engine='', threads=4)
    """

    engine: str = ""
    threads: int | None = None


Choices = Mapping[str, Choice]
"""By the name of a step; a step that is not in it runs as it was made."""


def engine_name(artifact: Artifact) -> str:
    """The name that tells the engines of a step apart, such as ``some-fp16``.

    Where its option ``device`` names another than the CPU, that is in it.

    Examples:
        >>> engine_name(Artifact("head", "some", (), (), (), options={"device": "cpu"}))
        'some-fp32'
        >>> engine_name(Artifact("head", "some", (), (), (), options={"device": "gpu"}))
        'some-gpu-fp32'
    """
    device = other_device(artifact.options)
    return "-".join(filter(None, (artifact.backend, device, artifact.precision)))


def engines_by_step(manifest: Manifest) -> dict[str, dict[str, Artifact]]:
    """By step, the engines that the bundle carries for it by ``engine_name``; its own is first."""
    engines = {step.name: {engine_name(step): step} for step in manifest.steps}
    for artifact in manifest.alternatives:
        engines[artifact.name][engine_name(artifact)] = artifact
    return engines


def apply_choices(manifest: Manifest, choices: Choices) -> Manifest:
    """The manifest with each step on the engine, and with the threads, that are chosen for it.

    Raises:
        BundleError: it has no such step, or does not carry such an engine for it.
    """
    engines = engines_by_step(manifest)
    for name, choice in choices.items():
        if name not in engines:
            raise BundleError(f"step '{name}'", expected=f"one of {', '.join(engines)}", got=name)
        if choice.engine and choice.engine not in engines[name]:
            raise BundleError(
                f"engine of step '{name}'",
                expected=f"one of {', '.join(engines[name])}",
                got=choice.engine,
            )
    steps = (
        _chosen_artifact(engines[step.name], choices.get(step.name)) for step in manifest.steps
    )
    return replace(manifest, steps=tuple(steps))


def _chosen_artifact(engines: Mapping[str, Artifact], choice: Choice | None) -> Artifact:
    choice = choice or Choice()
    step = engines[choice.engine or next(iter(engines))]
    if choice.threads is None or "threads" not in step.options:
        return step
    return replace(step, options={**step.options, "threads": choice.threads})


def read_tuned(manifest: Manifest) -> Choices:
    """The choices that ``tune`` has kept; empty where there are none, or the file is damaged."""
    with suppress(OSError, RuntimeError, ValueError, DeployError):
        if not any(_tuned_folder().glob(f"{files_digest(manifest)}-*")):
            return {}  # the versions of engines, which takes 15 ms, need not be looked up
        choices = choices_from(_choices_file(manifest).read_text())
        cores = os.cpu_count() or 1
        if all(0 <= (choice.threads or 0) <= cores for choice in choices.values()):
            apply_choices(manifest, choices)  # raises where they are not of this bundle
            return choices
    return {}


def write_tuned(manifest: Manifest, choices: Choices) -> Path:
    """Keep the choices of a bundle in the user's cache folder; earlier ones are replaced.

    Returns:
        The file.

    Raises:
        DeployError: the user's cache folder cannot be written.
    """
    try:
        path = _choices_file(manifest)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as part:
            part.write_text(choices_text(choices))
    except (OSError, RuntimeError) as error:
        raise DeployError(
            f"the choices cannot be kept: {error}", do="Set XDG_CACHE_HOME to a folder."
        ) from error
    return path


def forget_tuned(manifest: Manifest) -> None:
    """Delete the choices that ``tune`` has kept."""
    with suppress(OSError, RuntimeError):
        _choices_file(manifest).unlink()


def choices_text(choices: Choices) -> str:
    """Choices as JSON."""
    return json.dumps({name: asdict(choice) for name, choice in choices.items()})


def choices_from(text: str) -> Choices:
    """Choices from their JSON.

    Raises:
        ValueError: no JSON object.
        FormatError: a value of it is not a choice.
    """
    parsed = json.loads(text)
    if not isinstance(parsed, dict):
        raise ValueError("choices are an object")
    return {name: from_json(Choice, value, name) for name, value in parsed.items()}


def _choices_file(manifest: Manifest) -> Path:
    return _tuned_folder() / f"{files_digest(manifest)}-{bundle_digest(manifest)}.json"


def _tuned_folder() -> Path:
    return cache_folder() / "tuned"
