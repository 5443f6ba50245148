"""From a bundle's files to a chain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from backends.contract import Artifact, Runner
from backends.registry import loader
from deploy.runtime.bundle.manifest import BundleError, Manifest, called_steps
from deploy.runtime.execution.chain import Chain
from deploy.runtime.execution.host_steps import (
    HostRunner,
    SegmentCall,
    host_arguments,
    make_host_function,
)
from deploy.runtime.execution.schedule import Step, schedule


def check_built(root: Path, steps: Sequence[Artifact]) -> None:
    """Refuse a bundle whose engines the device has still to build or verify.

    Raises:
        BundleError: naming the steps.
    """
    unbuilt = ", ".join(f"'{step.name}'" for step in steps if not step.built)
    unverified = ", ".join(f"'{step.name}'" for step in steps if step.unverified)
    if unbuilt or unverified:
        missing = f"{unbuilt} is not built" if unbuilt else f"{unverified} is not verified"
        raise BundleError(
            f"bundle '{root}': the engine of {missing} yet",
            do=f"On the device that runs it: python -m deploy.runtime build {root}",
        )


def ordered_steps(manifest: Manifest) -> list[Step]:
    """The steps that the chain runs itself, in data-flow order.

    Raises:
        BundleError: the steps cannot be scheduled.
    """
    called = called_steps(manifest)
    scheduled = [step for step in manifest.steps if step.name not in called]
    return schedule([*scheduled, *manifest.host], manifest.inputs, manifest.outputs)


def load_chain(
    root: Path, manifest: Manifest, on_step: Callable[[str], None] | None = None
) -> Chain:
    """Load every engine and host step of a bundle, and wire them.

    Args:
        root: the bundle; its files must have been compared with the manifest.
        manifest: its manifest, with the engines that are to run.
        on_step: called with what begins now: loading a step, or running it.

    Raises:
        BundleError: the steps cannot be scheduled.
        HostStepError: the code of a host step is not registered, or refuses its parameters.
        MissingLibraryError: an engine is not installed here.
        EngineError: an engine does not load its files.
    """
    for host in manifest.host:  # before any engine is loaded
        host_arguments(host.name, host.id, host.params, bool(host.calls))
    called, order = called_steps(manifest), ordered_steps(manifest)
    with ExitStack() as loaded:
        runners: dict[str, Runner] = {}
        for step in manifest.steps:
            if on_step is not None:
                on_step(f"loading step '{step.name}'")
            runners[step.name] = load(root, step, alone=len(manifest.steps) == 1)
            loaded.push(runners[step.name].__exit__)
        calls = {step.name: SegmentCall(step, runners[step.name]) for step in manifest.steps}
        for host in manifest.host:
            if on_step is not None:
                on_step(f"loading host step '{host.name}'")
            segments = {name: calls[name] for name in host.calls}
            runners[host.name] = HostRunner(host, make_host_function(host, segments))
        loaded.pop_all()  # nothing failed: from here on the chain closes them
    return Chain(
        [(step, runners[step.name]) for step in order],
        manifest.inputs,
        manifest.outputs,
        [(step, runners[step.name]) for step in manifest.steps if step.name in called],
        on_step,
    )


def load(root: Path, step: Artifact, alone: bool) -> Runner:
    """Load an engine, with those of its options that depend on the chain.

    Args:
        root: the bundle.
        step: an artifact of it.
        alone: whether it is the chain's only engine, so that its threads disturb no other.

    Raises:
        MissingLibraryError: the engine is not installed here.
        EngineError: it does not load its files.
    """
    options = dict(step.options)
    if options.get("spin") == "auto":
        options["spin"] = "on" if alone else "run"
    return loader(step.backend)(replace(step, options=options), root)
